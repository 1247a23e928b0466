"""Which format a folder is in, what is said where it is in none or in two, and single files."""

import json
import os

import pytest

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.detect import find_data
from otadet.data.merged import merged
from otadet.errors import UserError
from tests.helpers.coco import PICTURE, coco
from tests.helpers.own_pictures import FORMATS, WRITERS

YOLO = {"data.yaml": "train: images\nval: images\nnames: [cell]\n", "images/a.jpg": PICTURE, "labels/a.txt": ""}


def test_the_line_for_the_log(write_files):
    assert str(find_data(write_files({"train.json": coco("a.jpg"), "val.json": coco("a.jpg"), "a.jpg": PICTURE}))) == (
        "COCO: train.json, val.json, 2 splits"
    )
    assert str(find_data(write_files({"all.json": coco("a.jpg")}, write_files({}) / "other"))) == (
        "COCO: all.json, 1 split"
    )


@pytest.mark.parametrize("format", WRITERS)
def test_every_format_is_told_from_the_others(tmp_path, format):
    splits = {"train": ["a.png", "b.png"], "val": ["c.png"], "test": ["d.png"]}
    folder = WRITERS[format](tmp_path / "mine", splits)
    (folder / "README.txt").write_text("where it is from")
    (folder / "package.json").write_text("{}")
    layout = find_data(folder)
    assert (layout.format, list(layout.splits)) == (FORMATS[format], ["train", "val", "test"])
    assert {split: len(source.read().image_ids) for split, source in layout.splits.items()} == {
        split: len(names) for split, names in splits.items()
    }


def test_a_roboflow_export_is_coco_alone(write_files):
    files = {f"{split}/_annotations.coco.json": coco("a.jpg") for split in ("train", "valid", "test")}
    pictures = {f"{split}/a.jpg": PICTURE for split in ("train", "valid", "test")}
    folder = write_files(files | pictures | {"README.dataset.txt": "", "README.roboflow.txt": ""})
    assert list(find_data(folder).splits) == ["train", "val", "test"]


def test_an_odgt_file_itself(tmp_path):
    folder = WRITERS["crowdhuman"](tmp_path / "mine", {"train": ["a.png", "b.png"]})
    layout = find_data(folder / "annotation_train.odgt")
    assert (layout.format, list(layout.splits)) == ("CrowdHuman", ["all"])
    assert len(layout.splits["all"].read().image_ids) == 2


def test_two_formats_in_one_folder(write_files):
    folder = write_files({"annotations/instances_train.json": coco("a.jpg"), **YOLO})
    with pytest.raises(
        UserError, match=r"may be COCO \(annotations/instances_train\.json\) and YOLO \(data\.yaml\); say which"
    ) as caught:
        find_data(folder)
    assert "data.format coco or data.format yolo" in str(caught.value)
    assert f"YoloData('{folder}')" in str(caught.value)
    assert find_data(folder, "coco").format == "COCO"
    assert find_data(folder, "yolo").format == "YOLO"


def test_no_format_says_what_was_looked_for_and_what_is_there(write_files):
    files = {f"pictures/{number}.jpg": PICTURE for number in range(3)} | {"read me.txt": "", "b.csv": "", "a.csv": ""}
    with pytest.raises(UserError) as caught:
        find_data(write_files(files))
    said = str(caught.value)
    for part in ("COCO", "YOLO", "Pascal VOC", "CrowdHuman", "there are a.csv, b.csv, pictures, read me.txt"):
        assert part in said
    assert "3 .jpg, 2 .csv, 1 .txt" in said
    with pytest.raises(UserError, match=r"no annotations of format yolo\."):
        find_data(write_files({}), "yolo")


def test_an_empty_and_a_missing_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="it is empty"):
        find_data(tmp_path / "empty")
    with pytest.raises(UserError, match="no such folder; name another"):
        find_data(tmp_path / "gone")


def test_labelme_is_told_apart(write_files):
    own = json.dumps({"version": "5", "flags": {}, "shapes": [], "imagePath": "a.jpg"})
    with pytest.raises(UserError, match=r"\.json files are labelme's: export them as COCO, YOLO or Pascal VOC"):
        find_data(write_files({"labels/a.json": own, "labels/a.jpg": PICTURE}))


def test_the_file_itself(write_files):
    folder = write_files({"annotations/boxes.json": coco("a.jpg"), **YOLO, "notes.txt": "", "package.json": "{}"})
    layout = find_data(folder / "annotations/boxes.json")
    assert (layout.format, layout.why, list(layout.splits)) == ("COCO", "boxes.json", ["all"])
    assert layout.splits["all"].read().image_dir == folder / "images"
    assert find_data(folder / "data.yaml").format == "YOLO"
    with pytest.raises(UserError, match=r"package\.json: is no COCO file"):
        find_data(folder / "package.json")
    with pytest.raises(UserError, match=r"notes\.txt: is no annotation file"):
        find_data(folder / "notes.txt")
    with pytest.raises(UserError, match=r"is a file of format yolo, but data\.format is coco"):
        find_data(folder / "data.yaml", "coco")


@pytest.mark.parametrize("where", ["", "annotations", "images", "annotations/deep"])
@pytest.mark.parametrize("name", ["annotations/boxes.json", "all.json", "data.yaml"])
def test_a_file_is_named_from_anywhere(write_files, monkeypatch, name, where):
    boxes = coco("a.jpg")
    folder = write_files({"annotations/boxes.json": boxes, "all.json": boxes, **YOLO, "annotations/deep/x": ""})
    monkeypatch.chdir(folder / where)
    layout = find_data(os.path.relpath(folder / name))
    assert {len(source.read().file_names) for source in layout.splits.values()} == {1}


def test_annotations_that_may_not_be_read_are_named(write_files, monkeypatch):
    folder = write_files({"annotations/instances_train.json": "", "images/a.jpg": PICTURE})
    can = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith(".json") and can(path, mode))
    with pytest.raises(UserError, match=r"annotations/instances_train\.json may not be read \(permission denied\)"):
        find_data(folder)


def test_an_empty_file(write_files):
    for name in ("a.json", "data.yaml", "a.odgt"):
        with pytest.raises(UserError, match=f"{name}: is an empty file"):
            find_data(write_files({name: ""}) / name)


def yolo(folder, names="train valid test"):
    files = {f"{folder}{name}/images/{name}.jpg": PICTURE for name in names.split()}
    return files | {f"{folder}{name}/labels/{name}.txt": "0 .5 .5 .2 .2\n" for name in names.split()}


@pytest.mark.parametrize("depth", ["", "mine/", "mine/data/set/"])
@pytest.mark.parametrize(
    "names", ["train valid test", "Train Validation Test", "train2017 val2017 test2017", "train_set val_set test_set"]
)
def test_what_is_below_a_lone_folder_keeps_its_splits(write_files, depth, names):
    """Pooled, the test split would be trained on."""
    folder = write_files(yolo(depth, names) | ({"mine/README.txt": "", "__MACOSX/x/y": ""} if depth else {}))
    layout = find_data(folder)
    found = {split: list(source.read().file_names) for split, source in layout.splits.items()}
    train, val, test = names.split()
    assert found == {
        split: [f"{name}/images/{name}.jpg"] for split, name in (("train", train), ("val", val), ("test", test))
    }
    assert layout.why.startswith(depth)


def test_folders_of_images_of_another_format_are_no_splits(write_files):
    """COCO of two years, whose files say which images are whose."""
    years = ("train2014", "train2017", "val2014", "val2017")
    pictures = {f"{year}/{year}.jpg": PICTURE for year in years}
    files = {f"annotations/instances_{year}.json": coco(f"{year}.jpg") for year in ("train2017", "val2017")}
    layout = find_data(write_files(pictures | files))
    assert layout.format == "COCO"
    assert [source.read().image_dir.name for source in layout.splits.values()] == ["train2017", "val2017"]


def test_two_folders_for_one_split(write_files):
    with pytest.raises(UserError, match=r"has both \S+val/images and \S+valid/images; which is val\? rename the other"):
        find_data(write_files(yolo("", "train val valid")))
    xml = "<annotation><size><width>8</width><height>6</height></size></annotation>"
    with pytest.raises(UserError, match="has both val and valid for val; rename one"):
        find_data(write_files({f"voc/{name}/a.xml": xml for name in ("train", "val", "valid")}) / "voc")


def test_split_folders_where_none_are_looked_for_are_never_pooled(write_files):
    deep = {f"images/cam/{name}/{name}.jpg": PICTURE for name in ("train", "test")}
    labels = {f"labels/cam/{name}/{name}.txt": "0 .5 .5 .2 .2" for name in ("train", "test")}
    with pytest.raises(UserError, match=r"images/cam/test and images/cam/train are called as splits.*in a data\.yaml"):
        find_data(write_files(deep | labels))


def test_voc_splits_of_xml_files_beside_one_folder_of_images(write_files):
    xml = "<annotation><size><width>8</width><height>6</height></size></annotation>"
    files = {f"Annotations/{split}/{split}.xml": xml for split in ("train", "test")}
    layout = find_data(write_files(files | {f"JPEGImages/{split}.jpg": PICTURE for split in ("train", "test")}))
    assert {split: list(source.read().file_names) for split, source in layout.splits.items()} == {
        "train": ["train.jpg"],
        "test": ["test.jpg"],
    }


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        ({"set.zip": "PK"}, r"set\.zip is an archive: unpack it"),
        ({"_annotations.csv": "filename", "a.jpg": PICTURE}, r"_annotations\.csv may have the boxes: export"),
        ({"annotations.xml": "<?xml?><annotations><version>1.1</version>"}, "is CVAT's own format: export as COCO"),
        ({"project.json": '[{"id": 1, "data": {"image": "a"}}]'}, "is Label Studio's own format: export as COCO"),
        ({"a.json": '[{"image": "/a.jpg", "annotator": 1}]'}, "is Label Studio's own format: export as COCO"),
        ({"labels/a.txt": "0 .5 .5 .2 .2", "notes.json": "{}"}, r"labels/a\.txt is a label file of YOLO, but has no"),
        ({"labels/x-a.txt": "0 .5 .5 .2 .2", "images/a.jpg": PICTURE}, "expected under the same names"),
        (yolo("one/") | yolo("two/"), r"name one, or several as a DataList: \S+one \(YOLO\), \S+two \(YOLO\)"),
    ],
)
def test_what_people_take_for_a_data_set_is_told(write_files, files, hint):
    with pytest.raises(UserError, match=hint):
        find_data(write_files(files))


def test_a_folder_in_another_format_than_the_named_one(write_files):
    with pytest.raises(UserError, match=r"no annotations of format voc.*it is YOLO \(data\.yaml\): name that.*, yolo$"):
        find_data(write_files(YOLO), "voc")


@pytest.mark.parametrize("others", [{"val/b.xml": "<annotation/>"}, {"val/b.txt": ""}], ids=["VOC", "YOLO"])
def test_a_split_without_objects_has_any_classes(write_files, others):
    train = {"train/a.xml": XML} if "val/b.xml" in others else {"train/a.txt": "3 .5 .5 .2 .2"}
    layout = find_data(write_files({**train, **others, "train/a.jpg": PICTURE, "val/b.jpg": PICTURE}))
    train, val = (DetectionDataset(layout.splits[split].read()) for split in ("train", "val"))
    again = DetectionDataset(val.annotations, class_names=train.class_names)
    assert (again.class_names, again.counts.images) == (train.class_names, 1)
    assert "left out" not in again.summary()
    both = merged([train.annotations, val.annotations], {})
    assert both.classes.names == train.class_names
    assert merged([val.annotations], {}).classes.names == val.class_names


def test_a_folder_of_data_sets_is_none(write_files):
    one = {"one/annotations/train.json": coco("a.jpg"), "one/images/a.jpg": PICTURE}
    folder = write_files({**one, "pictures/a.jpg": PICTURE, "README.jpg": PICTURE})
    assert find_data(folder).why == "one/annotations/train.json"
    write_files({f"two/{name}": content for name, content in YOLO.items()})
    with pytest.raises(UserError, match=r"has several data sets: .*DataList: \S+one \(COCO\), \S+two \(YOLO\)"):
        find_data(folder)
    assert find_data(folder, "coco").format == "COCO"


@pytest.mark.parametrize("deep", ["", "labels/"])
def test_the_images_of_a_file_are_beside_its_folder_where_none_are_in_it(write_files, monkeypatch, deep):
    odgt = json.dumps({"ID": "a", "gtboxes": []})
    folder = write_files({f"{deep}all.json": coco("a.jpg"), f"{deep}all.odgt": odgt, "images/a.jpg": PICTURE})
    monkeypatch.chdir(folder / deep)
    for name in ("all.json", "all.odgt"):
        for path in (name, folder / deep / name):
            read = find_data(path).splits["all"].read()
            assert (read.image_dir / read.file_names[0]).samefile(folder / "images/a.jpg")


BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
XML = f"<annotation><object><name>ape</name>{BOX}</object></annotation>"


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({"Annotations/a.xml": XML, "JPEGImages/a.jpg": PICTURE}, "Annotations"),
        ({"Annotations/a.xml": XML, "JPEGImages/a.jpg": PICTURE}, "JPEGImages"),
        ({"annotations/train.json": coco("a.jpg"), "train/a.jpg": PICTURE}, "annotations"),
        ({"images/a.jpg": PICTURE, "labels/a.txt": "0 .5 .5 .2 .2"}, "images"),
        ({"images/a.jpg": PICTURE, "labels/a.txt": "0 .5 .5 .2 .2"}, "labels"),
    ],
)
def test_a_part_of_a_data_set_leads_to_the_whole(write_files, files, part):
    folder = write_files(files)
    with pytest.raises(UserError, match=rf"{part}: .*; the folder above is a data set, \S+ \(\w+\): name that"):
        find_data(folder / part)


@pytest.mark.parametrize("format", WRITERS)
def test_what_systems_put_into_folders_is_passed_over(tmp_path, write_files, format):
    folder = WRITERS[format](tmp_path / "mine", {"train": ["a.png", "b.png"], "val": ["c.png"]})
    before = {split: list(source.read().file_names) for split, source in find_data(folder).splits.items()}
    for inner in [path for path in folder.rglob("*") if path.is_dir()] + [folder]:
        write_files({"@eaDir/a.png/THUMB.jpg": PICTURE, "__MACOSX/._a.png": "", "._a.png": ""}, inner)
    write_files({"lost+found/train.json": coco("x.jpg"), "$RECYCLE.BIN/data.yaml": "names: [a]"}, folder)
    layout = find_data(folder)
    assert {split: list(source.read().file_names) for split, source in layout.splits.items()} == before


def test_an_archive_itself(write_files):
    with pytest.raises(UserError, match=r"set\.zip: is an archive; unpack it"):
        find_data(write_files({"set.zip": "PK"}) / "set.zip")
