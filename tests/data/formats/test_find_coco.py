"""COCO files under any name, and their images wherever they are."""

import json
from pathlib import Path

import pytest

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.coco import find_coco
from otadet.errors import UserError
from tests.helpers.coco import PICTURE, coco


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        pytest.param(
            {
                "train/_annotations.coco.json": coco("a.jpg"),
                "train/a.jpg": PICTURE,
                "valid/_annotations.coco.json": coco("b.jpg"),
                "valid/b.jpg": PICTURE,
                "test/_annotations.coco.json": coco("c.jpg"),
                "test/c.jpg": PICTURE,
            },
            {"train": "train", "val": "valid", "test": "test"},
            id="Roboflow",
        ),
        pytest.param(
            {
                "annotations/instances_train2017.json": coco("a.jpg"),
                "annotations/captions_train2017.json": coco("a.jpg"),
                "annotations/person_keypoints_train2017.json": coco("a.jpg"),
                "annotations/instances_val2017.json": coco("b.jpg"),
                "annotations/image_info_test2017.json": json.dumps(
                    {"images": [{"id": 1, "file_name": "c.jpg"}], "categories": [{"id": 1, "name": "cell"}]}
                ),
                "train2017/a.jpg": PICTURE,
                "val2017/b.jpg": PICTURE,
                "test2017/c.jpg": PICTURE,
            },
            {"train": "train2017", "val": "val2017", "test": "test2017"},
            id="COCO 2017",
        ),
        pytest.param(
            {
                "annotations/instances_train.json": coco("a.jpg"),
                "annotations/instances_val.json": coco("b.jpg"),
                "images/a.jpg": PICTURE,
                "images/b.jpg": PICTURE,
            },
            {"train": "images", "val": "images"},
            id="one folder of images",
        ),
        pytest.param(
            {
                "train.json": coco("a.jpg"),
                "validation.json": coco("a.jpg"),
                "images/train/a.jpg": PICTURE,
                "images/val/a.jpg": PICTURE,
            },
            {"train": "images/train", "val": "images/val"},
            id="one JSON per split, the same names",
        ),
        pytest.param(
            {"result.json": coco("images/a.jpg"), "images/a.jpg": PICTURE, "package.json": '{"name": "site"}'},
            {"all": "."},
            id="Label Studio",
        ),
        pytest.param(
            {"annotations/instances_default.json": coco("a.jpg"), "images/default/a.jpg": PICTURE},
            {"all": "images/default"},
            id="CVAT",
        ),
        pytest.param(
            {"boxes.json": coco("a.jpg", "b.jpg"), "pictures/x/a.jpg": PICTURE, "pictures/x/b.jpg": PICTURE},
            {"all": "pictures/x"},
            id="somewhere",
        ),
        pytest.param(
            {"boxes.json": coco("a.jpg").encode("utf-16"), "a.jpg": PICTURE, "empty.json": "", "broken.json": "{"},
            {"all": "."},
            id="UTF-16",
        ),
        pytest.param(
            {"Train/labels.json": coco("a.jpg"), "Train/images/a.jpg": PICTURE, "all.json": coco("a.jpg", "b.jpg")},
            {"train": "Train/images"},
            id="a file that names no split",
        ),
        pytest.param({"train.json": coco("gone.jpg"), "images/a.jpg": PICTURE}, {"train": "."}, id="images missing"),
    ],
)
def test_layouts(write_files, files, splits):
    folder = write_files(files)
    layout = find_coco(folder)
    assert layout.format == "COCO"
    found = {split: source.read() for split, source in layout.splits.items()}
    assert {split: Path(annotations.image_dir) for split, annotations in found.items()} == {
        split: folder / name for split, name in splits.items()
    }
    if "all.json" in files:
        assert layout.why == "Train/labels.json (not all.json, which names no split)"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"package.json": '{"name": "site", "images": 3}'},
        {"found.json": '[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]'},
        {"a.json": json.dumps({"shapes": [], "imagePath": "a.jpg", "imageData": None})},
        {"tasks.json": json.dumps([{"data": {"image": "a.jpg"}, "annotations": []}])},
    ],
    ids=["nothing", "another JSON", "results", "labelme", "Label Studio's own"],
)
def test_what_is_no_coco_folder(write_files, files):
    assert find_coco(write_files(files)) is None


def test_what_only_the_user_can_choose_is_asked_when_it_is_needed(write_files):
    files = {"a_train.json": coco("a.jpg"), "b_train.json": coco("a.jpg"), "val.json": coco("b.jpg")}
    layout = find_coco(write_files(files | {"a.jpg": PICTURE, "b.jpg": PICTURE}))
    assert len(layout.splits["val"].read().image_ids) == 1
    with pytest.raises(UserError, match=r"train split \(a_train\.json, b_train\.json\); name it by train_json of Coco"):
        layout.splits["train"].read()


def test_of_several_files_the_one_called_just_so(write_files):
    files = {
        f"annotations/{name}.json": coco("a.jpg") for name in ("train", "train_old", "instances_val2017", "val_small")
    }
    layout = find_coco(write_files({**files, "a.jpg": PICTURE}))
    assert [source.path.stem for source in layout.splits.values()] == ["train", "instances_val2017"]
    assert layout.why.endswith(" (not annotations/train_old.json and 1 more)")


def test_a_file_without_a_split_beside_a_val_split(write_files):
    layout = find_coco(write_files({"boxes.json": coco("a.jpg"), "val.json": coco("a.jpg"), "a.jpg": PICTURE}))
    with pytest.raises(UserError, match=r"do not say which is the train split \(boxes\.json\)"):
        layout.splits["train"].read()


def test_thousands_of_other_json_files_are_passed_over(write_files):
    folder = write_files({f"labels/{number}.json": "{}" for number in range(200)})
    assert find_coco(folder) is None
    write_files({"labels/instances.json": coco("a.jpg")})
    assert find_coco(folder).why == "labels/instances.json"


def test_hundreds_of_other_folders_are_passed_over(write_files):
    folder = write_files({f"pictures/{number:03}/{number}.jpg": PICTURE for number in range(100)})
    for number in range(100):
        (folder / f"{number}").mkdir()
    write_files({"train_labels/all.json": coco("a.jpg"), "zimages/a.jpg": PICTURE})
    layout = find_coco(folder)
    assert layout.splits["train"].image_dir == folder / "zimages"


def test_names_that_lead_out_are_not_followed(write_files):
    files = {"data/boxes.json": coco("../secret/a.jpg"), "secret/a.jpg": PICTURE, "data/secret/x.jpg": PICTURE}
    folder = write_files(files)
    with pytest.raises(UserError, match="leads out of the image folder"):
        find_coco(folder / "data").splits["all"].read()
    assert find_coco(folder / "data", outside_images=True).splits["all"].read().image_dir == folder / "data"


def test_names_with_folders_of_another_machine(write_files):
    """As Label Studio writes them, and who ran a script elsewhere."""
    named = "/data/upload/1/a.jpg", "../../media/b.jpg", "C:\\me\\set\\deep\\c.jpg"
    files = {f"images/{name}": PICTURE for name in ("a.jpg", "b.jpg", "deep/c.jpg")}
    annotations = find_coco(write_files({"result.json": coco(*named), **files})).splits["all"].read()
    assert annotations.image_dir.name == "images"
    assert list(annotations.file_names) == ["a.jpg", "b.jpg", "deep/c.jpg"]
    assert annotations.dropped == (("file names with folders of another machine found by their end", 3),)
    folder = write_files({"result.json": coco("/one/a.jpg", "/two/a.jpg"), **files})
    with pytest.raises(UserError, match=r"images\[1\]: file_name '/two/a\.jpg' is absolute"):
        find_coco(folder).splits["all"].read()


def test_folders_that_are_not_there_are_those_of_another_machine(write_files):
    names = [f"mine/images/{part}/{number}.jpg" for part in "ab" for number in range(2)]
    files = {name.replace("mine/images", "pictures"): PICTURE for name in names[:-1]}
    folder = write_files({"train.json": coco(*names), **files})
    annotations = find_coco(folder).splits["train"].read()
    assert annotations.image_dir == folder / "pictures"
    # The last is nowhere, and keeps its name.
    assert list(annotations.file_names) == ["a/0.jpg", "a/1.jpg", "b/0.jpg", "mine/images/b/1.jpg"]
    assert annotations.dropped == (("file names with folders of another machine found by their end", 3),)
    write_files({names[0]: PICTURE})
    # Where one is there as it is written, the others are missing, whatever else is called like their end.
    assert list(find_coco(folder).splits["train"].read().file_names) == names


@pytest.mark.parametrize("name", ["/x/val/0.jpg", "mine/val/0.jpg"])
def test_a_name_that_says_another_split_is_none_of_this(write_files, name):
    files = {"train.json": coco("0.jpg"), "val.json": coco(name), "images/0.jpg": PICTURE}
    source = find_coco(write_files(files)).splits["val"]
    with pytest.raises(UserError, match=r"is absolute|no such image file"):
        DetectionDataset(source.read())
    folder = write_files({"val/0.jpg": PICTURE})
    assert find_coco(folder).splits["val"].read().image_dir in (folder, folder / "val")


def test_lvis_has_urls_for_names(write_files):
    content = json.loads(coco("a.jpg", "b.jpg"))
    for image, name in zip(content["images"], ("train2017/a.jpg", "val2017/b.jpg"), strict=True):
        image["coco_url"] = f"http://images.cocodataset.org/{name}"
        del image["file_name"]
    files = {"lvis_v1_train.json": json.dumps(content), "train2017/a.jpg": PICTURE, "val2017/b.jpg": PICTURE}
    annotations = find_coco(write_files(files)).splits["train"].read()
    assert list(annotations.file_names) == ["train2017/a.jpg", "val2017/b.jpg"]
    assert (annotations.image_dir / "train2017/a.jpg").is_file()


def test_names_that_windows_wrote(write_files):
    """Only where a file is called so with slashes: a backslash may be part of a name elsewhere."""
    folder = write_files({"result.json": coco("images\\3\\a.jpg", "b\\c.jpg", "d\\e.jpg"), "images/3/a.jpg": PICTURE})
    Path(folder, "b\\c.jpg").write_bytes(Path(folder, "images/3/a.jpg").read_bytes())
    annotations = find_coco(folder).splits["all"].read()
    assert list(annotations.file_names) == ["images/3/a.jpg", "b\\c.jpg", "d\\e.jpg"]
    assert annotations.dropped == (("file names with backslashes read as slashes", 1),)


def test_the_images_of_another_split_are_not_taken_for_missing_ones(write_files):
    # Both splits count their pictures from 0, and most of those of val have not arrived.
    names = [f"{number}.jpg" for number in range(6)]
    folder = write_files(
        {
            "annotations/train.json": coco(*names),
            "annotations/val.json": coco(*names),
            "val/3.jpg": PICTURE,
            **{f"train/{name}": PICTURE for name in names},
        }
    )
    assert find_coco(folder).splits["val"].image_dir == folder / "val"
    (folder / "val/3.jpg").unlink()
    assert find_coco(folder).splits["val"].image_dir == folder
    # Where no folder is called so, all images may lie in one.
    (folder / "val").rmdir()
    assert find_coco(folder).splits["val"].image_dir == folder / "train"
