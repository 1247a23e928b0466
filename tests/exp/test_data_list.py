"""Several folders of different formats as one data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from otadet.errors import UserError
from otadet.exp import BaseExp, DataFolder, DataList, PythonData, YoloData
from otadet.exp.plain import from_plain, to_plain
from tests.helpers.own_pictures import write_coco, write_voc, write_yolo


@pytest.fixture
def folders(tmp_path: Path) -> tuple[DataFolder, YoloData]:
    names = [f"{number}.png" for number in range(6)]
    coco = write_coco(tmp_path / "coco", {"train": names[:4], "val": names[4:]})
    yolo = write_yolo(tmp_path / "yolo", {"train": names, "test": ["x.png"]})
    return DataFolder(str(coco)), YoloData(str(yolo))


def test_every_source_has_its_share(folders: tuple) -> None:
    data = DataList(folders)
    assert [len(dataset) for dataset in (data.train(), data.val(), data.test())] == [4 + 5, 2 + 1, 1]
    assert data.train().class_names == ("square",)
    notes = data.train().notes
    assert notes[0].endswith("coco: COCO: train.json, val.json, 2 splits, 1 class")
    assert "yolo: no val split, so one is made: 1 of 6 images" in notes[2]
    train, val = ({dataset.path(row) for row in range(len(dataset))} for dataset in (data.train(), data.val()))
    assert not train & val


def test_of_sources_without_a_split_all_is_measured_where_none_was_trained_on(folders: tuple) -> None:
    assert len(DataList(folders).untrained().val()) == 2 + 6


def test_paths_are_folders_whose_format_is_found_out(folders: tuple) -> None:
    first, second = (source.folder for source in folders)
    assert DataList([first, Path(second)]) == DataList((DataFolder(first), DataFolder(second)))


def test_classes_are_mapped(folders: tuple) -> None:
    folder = Path(folders[1].folder)
    (folder / "data.yaml").write_text((folder / "data.yaml").read_text().replace("square", "kiste"))
    assert DataList(folders).train().class_names == ("square", "kiste")
    assert DataList(folders, classes={"kiste": "square"}).train().class_names == ("square",)
    assert DataList(folders, {"kiste": "square"}, class_names=("circle", "square")).val().class_names == (
        "circle",
        "square",
    )
    with pytest.raises(UserError, match=r"no source has a class 'kist', but kiste, square; did you mean 'kiste'"):
        DataList(folders, {"kist": "square"}).train()
    with pytest.raises(UserError, match="num_classes is 3"):
        DataList(folders, num_classes=3).train()


def test_it_is_plain_data_and_settings(folders: tuple) -> None:
    data = DataList(folders, classes={"kiste": "square"})
    assert from_plain(to_plain(data), "data", object) == data
    exp = BaseExp()
    exp.data = data
    exp.override(["data.classes", "a=b, c=d", "data.sources.0.val_share", "0.5"])
    assert exp.data.classes == (("a", "b"), ("c", "d"))
    assert exp.data.sources[0].val_share == 0.5
    with pytest.raises(UserError, match=r"data\.classes a: expected old=new"):
        exp.override(["data.classes", "a"])
    exp.override(["data", "mine"])
    assert exp.data == DataFolder("mine")


def test_what_contradicts_itself(folders: tuple, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"DataList: sources \(\): needs at least one"):
        DataList(())
    with pytest.raises(UserError, match=r"sources\.1\.class_names: is set for the list as a whole"):
        DataList((DataFolder("a"), DataFolder("b", class_names=("x",))))
    with pytest.raises(UserError, match=r"sources\.1\.unreadable skip: is fail in sources\.0"):
        DataList((DataFolder("a"), DataFolder("b", unreadable="skip")))
    with pytest.raises(UserError, match=r"sources\.1: is a DataList; expected are data in folders, such as DataFolder"):
        DataList((DataFolder("a"), DataList((DataFolder("b"),))))
    with pytest.raises(UserError, match=r"sources\.0: is a PythonData; expected are data in folders"):
        DataList((PythonData([1], [1]),))
    for name in ("", "x" * 300):
        with pytest.raises(UserError, match=r"DataList: classes: kiste is renamed to: class name \[0\] "):
            DataList(folders, {"kiste": name})
    voc = write_voc(tmp_path / "voc", {"train": ["a.png", "b.png"], "val": ["c.png"]})
    with pytest.raises(UserError, match=r"coco, .*voc: none has a test split"):
        DataList((folders[0], DataFolder(str(voc)))).test()
    assert len(DataList((folders[0], DataFolder(str(voc)))).without_prescan().train()) == 6
