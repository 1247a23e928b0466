"""Parts that stand for data: splits that are there, made or refused, and what `data PATH` on a command line is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from otadet.data.synthetic.write import write_synthetic
from otadet.errors import UserError
from otadet.exp import BaseExp, CocoData, DataFolder, SyntheticShapes, YoloData, load_exp
from otadet.exp.plain import from_plain, to_plain


def write_coco(folder: Path, split: str, names: list[str]) -> Path:
    """A COCO file of noise images, each with one cell."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = np.random.default_rng(len(name)).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
    content = {
        "images": [{"id": n, "file_name": name, "height": 20, "width": 30} for n, name in enumerate(names, 1)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 2, 10, 8]} for n in range(1, len(names) + 1)
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    path = folder / f"{split}.json"
    path.write_text(json.dumps(content))
    return path


NAMES = [f"{number}.png" for number in range(10)]


@pytest.mark.parametrize("split", ["train", "boxes"])
def test_a_val_split_is_made_of_train_or_of_all(tmp_path: Path, split: str) -> None:
    write_coco(tmp_path, split, NAMES)
    data = DataFolder(str(tmp_path), val_share=0.3)
    train_set, val_set = data.train(), data.val()
    assert (len(train_set), len(val_set)) == (7, 3)
    assert {*train_set.file_names, *val_set.file_names} == {*NAMES}
    assert train_set.notes == val_set.notes
    assert train_set.notes[0] == f"COCO: {split}.json, 1 split, 1 class"
    assert train_set.notes[1].startswith("no val split, so one is made: 3 of 10 images, each by itself (val_share 0.3")
    other = DataFolder(str(tmp_path), val_share=0.3, split_seed=1).val()
    assert {*other.file_names} != {*val_set.file_names}


def test_no_val_split_is_made_where_there_is_one_and_none_of_test(tmp_path: Path) -> None:
    for split, names in (("train", NAMES[:6]), ("val", NAMES[6:8]), ("test", NAMES[8:])):
        write_coco(tmp_path, split, names)
    data = DataFolder(str(tmp_path))
    assert [len(dataset) for dataset in (data.train(), data.val(), data.test())] == [6, 2, 2]
    assert data.train().notes == ("COCO: train.json, val.json, test.json, 3 splits, 1 class",)
    unheard = DataFolder(str(tmp_path), val_share=0.5).val().notes[1]
    assert "has a val split of its own, in which val_share, split_seed and group have no say" in unheard
    (tmp_path / "val.json").unlink()
    assert {*data.train().file_names, *data.val().file_names} == {*NAMES[:6]}
    assert data.test().file_names == NAMES[8:]
    (tmp_path / "train.json").unlink()
    with pytest.raises(UserError, match="no training split: there is test alone, which is not trained on"):
        data.train()
    with pytest.raises(UserError, match="no validation split: there is test alone"):
        data.val()


def test_a_share_of_0_refuses(tmp_path: Path) -> None:
    write_coco(tmp_path, "train", NAMES)
    data = DataFolder(str(tmp_path), val_share=0)
    assert len(data.train()) == 10
    with pytest.raises(UserError, match=r"no validation split: there is train alone; add one, or set data\.val_share"):
        data.val()
    with pytest.raises(UserError, match="has no test split, but train alone"):
        data.test()


def test_all_are_for_validation_where_none_was_trained_on(tmp_path: Path) -> None:
    write_coco(tmp_path, "boxes", NAMES)
    data = DataFolder(str(tmp_path)).untrained()
    assert len(data.val()) == 10
    assert data.val().notes[1] == "no val split, so that is what there is: 10 images (val_share 1)"
    with pytest.raises(UserError, match=r"data\.val_share 1: leaves nothing to train on; set data\.val_share 0\.2"):
        data.train()
    told = DataFolder(str(tmp_path), val_share=0.3)
    assert told.untrained() == told
    write_coco(tmp_path, "val", NAMES[:2])
    (tmp_path / "boxes.json").rename(tmp_path / "train.json")
    assert len(DataFolder(str(tmp_path)).untrained().train()) == 10
    assert len(DataFolder(str(tmp_path)).untrained().val()) == 2


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(tmp_path / "mine", "train", NAMES)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(DataFolder("~/mine").train()) == 8
    assert len(CocoData("~/mine", train_json="train.json", train_images="images", val_json=None).train()) == 8


def test_groups_stay_together(tmp_path: Path) -> None:
    names = [f"{clip}{frame}.png" for clip in "abcd" for frame in range(3)]
    write_coco(tmp_path, "boxes", names)
    val = DataFolder(str(tmp_path), val_share=0.25, group="^(.)").val()
    assert len(val) == 3
    assert len({name[0] for name in val.file_names}) == 1
    assert "in 4 groups that stay together" in val.notes[1]
    with pytest.raises(UserError, match=r"boxes\.json: no validation split can be made: .* one group; set data\.group"):
        DataFolder(str(tmp_path), group="([.])").val()
    with pytest.raises(UserError, match=r"DataFolder: group .: is no regular expression"):
        DataFolder(str(tmp_path), group="(")


def test_coco_data_has_its_paths(tmp_path: Path) -> None:
    write_coco(tmp_path, "x", NAMES[:8])
    write_coco(tmp_path, "y", NAMES[8:])
    data = CocoData(str(tmp_path), "x.json", "images", None, test_json="y.json", test_images="images")
    assert [len(dataset) for dataset in (data.train(), data.val(), data.test())] == [6, 2, 2]
    assert len(CocoData(str(tmp_path), "x.json", "images", "y.json", "images").val()) == 2
    with pytest.raises(UserError, match="test_images images: there is no test split; set test_json, too"):
        CocoData(test_images="images")


def with_data(data: object, *pairs: str) -> object:
    exp = BaseExp()
    exp.data = data
    exp.override(pairs)
    return exp.data


def test_data_path_is_a_folder_of_any_format(tmp_path: Path) -> None:
    write_coco(tmp_path / "mine", "boxes", NAMES)
    mine, free = str(tmp_path / "mine"), str(tmp_path / "free")
    assert with_data(DataFolder("x"), "data", mine) == DataFolder(mine)
    assert with_data(CocoData("x", "a.json"), "data", mine) == CocoData(mine, "a.json")
    assert with_data(YoloData("x"), "data", mine) == YoloData(mine)
    assert with_data(SyntheticShapes("x"), "data", mine) == DataFolder(mine)
    assert with_data(SyntheticShapes("x"), "data", mine, "data.val_share", "0.5") == DataFolder(mine, val_share=0.5)
    assert with_data(SyntheticShapes("x"), "data", free) == SyntheticShapes(free)
    write_synthetic(free, images_train=1, images_val=1, size=48, classes=1)
    assert with_data(SyntheticShapes("x"), "data", free) == SyntheticShapes(free)

    class Own:
        """A part of somebody's, which knows no folder."""

    assert with_data(Own(), "data", mine) == DataFolder(mine)


@pytest.mark.parametrize("data", [DataFolder("a", group="(.)", val_share=0.1), YoloData("b"), CocoData("c")], ids=repr)
def test_a_checkpoint_holds_them(data: DataFolder) -> None:
    assert from_plain(to_plain(data), "data", object) == data


def test_what_older_checkpoints_call_a_coco_folder() -> None:
    assert from_plain({"part": "CocoFolder", "folder": "x", "val_images": "y"}, "data", object) == CocoData(
        "x", val_images="y"
    )


def test_the_shipped_data_are_folders() -> None:
    assert load_exp("blood_cells").data == DataFolder("datasets/blood_cells")
    assert load_exp("ota_fcos_r50").data == DataFolder("datasets/coco")


def test_a_part_without_a_test_split_is_no_traceback(tmp_path: Path) -> None:
    exp = BaseExp()
    exp.data = object()  # type: ignore[assignment]
    with pytest.raises(UserError, match="a object has no test split"):
        exp.build_test_dataset()
    with pytest.raises(UserError, match="has no test split, but train, val"):
        SyntheticShapes(str(tmp_path / "x"), images_train=1, images_val=1, image_size=48).test()


def test_what_a_reader_repaired_is_counted_for_both_parts_of_a_made_split(tmp_path: Path) -> None:
    path = write_coco(tmp_path, "boxes", NAMES)
    path.write_text(path.read_text().replace('"bbox": [1, 2, 10, 8]', '"segmentation": [[1, 2, 11, 2, 11, 10]]'))
    data = DataFolder(str(tmp_path))
    for dataset in (data.train(), data.val()):
        assert dataset.summary().endswith("; 10 outlines turned into their box in both parts")
