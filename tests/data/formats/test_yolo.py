import os
import pickle

import numpy as np
import pytest

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.yolo import find_yolo
from otadet.errors import UserError

LINE = "0 .5 .5 .2 .4\n"
YAML = "train: train/images\nval: valid/images\nnames: [ape, cow]\n"
FILES = {
    "data.yaml": YAML,
    "train/images/a.jpg": (100, 50),
    "train/labels/a.txt": LINE,
    "train/images/b.png": (40, 20),
    "valid/images/c.jpg": (100, 50),
    "valid/labels/c.txt": "1 .5 .5 .2 .4\n0 .1 .1 .2 .2",
}


def split_names(path, **options):
    layout = find_yolo(path, **options)
    return {split: list(source.read().file_names) for split, source in layout.splits.items()}


def test_data_yaml(write_files):
    folder = write_files(FILES)
    layout = find_yolo(folder)
    assert (layout.format, layout.why, list(layout.splits)) == ("YOLO", "data.yaml", ["train", "val"])
    train = pickle.loads(pickle.dumps(layout.splits["train"])).read()
    assert train.classes.names == ("ape", "cow")
    assert list(train.file_names) == [os.path.join("train", "images", name) for name in ("a.jpg", "b.png")]
    assert train.image_ids.tolist() == [1, 2]
    assert train.image_sizes.tolist() == [[50, 100], [20, 40]]
    np.testing.assert_allclose(train.boxes, [[40, 15, 60, 35]])
    assert train.dropped == (("images without a label file, taken as background", 1),)
    val = layout.splits["val"].read()
    assert val.class_rows.tolist() == [1, 0]
    assert val.classes.boxes.tolist() == [1, 1]
    assert DetectionDataset(val).counts.boxes == 2
    assert split_names(folder / "data.yaml") == split_names(folder)


@pytest.mark.parametrize(
    "paths",
    [
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images",
        "path: ../elsewhere\ntrain: train/images\nval: valid/images",
        "path: /content/drive/mine\ntrain: train/images\nval: /content/drive/mine/valid/images",
        "path: .\ntrain: [train/images]\nval: ./valid\ntest:",
        "train: train.txt\nval: lists/val.txt",
        "train: train\\images\nval: C:\\mine\\valid\\images",
        "Train: train/images\nValidation: valid/images",
    ],
)
def test_ways_to_name_the_splits(write_files, paths):
    lists = {"train.txt": "./train/images/a.jpg\ntrain/images/b.png\r\n", "lists/val.txt": "data/valid/images/c.jpg"}
    folder = write_files({**FILES, **lists, "data.yaml": paths + "\nnc: 2\nnames: {0: ape, 1: cow}\n"})
    assert split_names(folder) == {
        "train": ["train/images/a.jpg", "train/images/b.png"],
        "val": ["valid/images/c.jpg"],
    }


def test_all_splits_never_lead_to_the_images_of_one(write_files):
    yaml = "train: {0}/train/images\nval: {0}/valid/images\ntest: {0}/test/images\nnames: [ape, cow]"
    files = {"images/a.jpg": (8, 8), "labels/a.txt": LINE}
    for place in ("..", "/content/mine", "C:\\mine"):
        with pytest.raises(UserError, match=r"data\.yaml: train: .*train.images': no such folder or list"):
            find_yolo(write_files({**files, "data.yaml": yaml.format(place)}))
    # A folder that is called as the split has its images.
    folder = write_files({f"train/{name}": content for name, content in files.items()})
    write_files({"train/data.yaml": "train: ../train/images\nval: ../valid/images\nnames: [ape, cow]"})
    assert find_yolo(folder / "train").why == "data.yaml (its val is not there)"


def test_splits_that_were_not_exported_are_said(write_files):
    layout = find_yolo(write_files({**FILES, "data.yaml": YAML + "test: mine/test"}))
    assert layout.why == "data.yaml (its test is not there)"
    files = {name: content for name, content in FILES.items() if "valid" not in name}
    yaml = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [ape, cow]"
    layout = find_yolo(write_files({**files, "data.yaml": yaml}, layout.splits["train"].folder / "other"))
    assert layout.why == "data.yaml (its val is not there) (its test is not there)"
    assert list(layout.splits) == ["train"]


@pytest.mark.parametrize(
    ("yaml", "problem"),
    [
        ("train: train/images\nval: gone\nnames: [ape, cow]", "val: 'gone': no such folder or list"),
        ("train: [1, [2]]\nnames: [ape, cow]", "train is .*expected are folders"),
        (YAML + "nc: 3", "nc is 3, but names has 2 classes"),
        (YAML + "nc: two", "nc is 'two', not a whole number"),
        ("train: train/images\nnc: 0", "nc is '0'; expected is 1 to"),
        ("train: train/images\nnames: {0: ape, 2: cow}", "names has 2 keys but none is 1"),
        ("train: train/images\nnames: {a: ape}", "a key of names is 'a'"),
        ("train: train/images\nnames: {0: ape, '00': cow}", "names has the key 0 twice"),
        ("train: train/images\nnames: [ape, ape]", r"class names \[0\] and \[1\] are both 'ape'"),
        ("train: train/images\nnames: [ape, ~]", r"class name \[1\] is None"),
        ("train: train/images\nnames: []", "class names are"),
        ("train: train/images\nnames: ape", "names is 'ape'; expected is a list"),
        ("train: train/images\nnames:", "names is empty"),
        (YAML + "valid: valid/images", "has both val and valid"),
        (YAML + "Train: valid/images", "has the key train twice, in upper and in lower case"),
        (YAML + "kpt_shape: [17, 3]", "its labels are key points"),
        ("train: [", "not valid YAML"),
    ],
)
def test_a_wrong_description_is_named(write_files, yaml, problem):
    with pytest.raises(UserError, match=rf"data\.yaml: .*{problem}"):
        find_yolo(write_files({**FILES, "data.yaml": yaml}))


def test_classes_that_are_only_counted_get_names(write_files):
    layout = find_yolo(write_files({**FILES, "data.yaml": "train: train/images\nnc: 2"}))
    assert layout.splits["train"].read().classes.names == ("class 0", "class 1")


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (
            {"images/train/a.jpg": (8, 8), "labels/train/a.txt": LINE, "images/val/b.jpg": (8, 8)},
            {"train": ["images/train/a.jpg"], "val": ["images/val/b.jpg"]},
        ),
        (
            {"train/images/a.jpg": (8, 8), "train/labels/a.txt": LINE, "test/images/b.jpg": (8, 8)},
            {"train": ["train/images/a.jpg"], "test": ["test/images/b.jpg"]},
        ),
        ({"train/a.jpg": (8, 8), "train/a.txt": LINE}, {"train": ["train/a.jpg"]}),
        ({"images/a.jpg": (8, 8), "labels/a.txt": LINE}, {"all": ["images/a.jpg"]}),
        ({"images/x/a.jpg": (8, 8), "labels/x/a.txt": LINE}, {"all": ["images/x/a.jpg"]}),
        ({"a.jpg": (8, 8), "a.txt": LINE}, {"all": ["a.jpg"]}),
        (
            {"images/a.jpg": (8, 8), "labels/a.txt": LINE, "images/b.jpg": (8, 8), "train.txt": "images/a.jpg"},
            {"train": ["images/a.jpg"]},
        ),
        (
            {
                "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/",
                "obj.names": "ape\ncow\n",
                "train.txt": "data/obj_train_data/a.jpg\n",
                "obj_train_data/a.jpg": (8, 8),
                "obj_train_data/a.txt": LINE,
            },
            {"train": ["obj_train_data/a.jpg"]},
        ),
        (
            {
                "obj.data": "classes = 2\nTrain = data/A.txt\nValidation = data/B.txt\nnames = data/obj.names\n",
                "obj.names": "ape\ncow\n",
                "A.txt": "data/obj/a.jpg\n",
                "B.txt": "data/obj/b.jpg\n",
                "obj/a.jpg": (8, 8),
                "obj/a.txt": LINE,
                "obj/b.jpg": (8, 8),
            },
            {"train": ["obj/a.jpg"], "val": ["obj/b.jpg"]},
        ),
        (
            {"Images/Train/a.jpg": (8, 8), "Labels/Train/a.TXT": LINE, "Images/Val/b.jpg": (8, 8)},
            {"train": ["Images/Train/a.jpg"], "val": ["Images/Val/b.jpg"]},
        ),
    ],
    ids=[
        *("images/train", "train/images", "train", "images", "deep", "flat", "lists", "darknet", "CVAT's subsets"),
        "upper case",
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_folders_without_a_description(write_files, files, splits, named):
    folder = write_files({**files, **({"classes.txt": "ape\ncow\n"} if named else {})})
    assert split_names(folder) == splits
    first = next(iter(find_yolo(folder).splits.values())).read()
    names = ("ape", "cow") if named or "obj.names" in files else ("class 0",)
    assert first.classes.names == names
    assert ("nothing names its classes" in find_yolo(folder).why) == (names == ("class 0",))
    assert first.class_rows.tolist() == [0]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"a.jpg": (8, 8)},
        {"a.jpg": (8, 8), "a.txt": "a picture of a cat\n"},
        {"a.jpg": (8, 8), "README.txt": LINE},
        {"other.yaml": "a: 1", "broken.yaml": "["},
    ],
)
def test_other_folders(write_files, files, tmp_path):
    assert find_yolo(write_files(files, tmp_path)) is None


def test_what_is_left_out_is_counted(write_files):
    lists = "train/images/a.jpg\ntrain/images/a.jpg\ntrain/images/b.png\n"
    labels = {"train/labels/gone.txt": LINE, "train/labels/classes.txt": "x", "train/labels/a.txt": "0 0 0 1 0 1 1"}
    folder = write_files(
        {**FILES, **labels, "train.txt": lists, "data.yaml": YAML.replace("train/images", "train.txt")}
    )
    dropped = find_yolo(folder).splits["train"].read().dropped
    assert [number for _, number in dropped] == [1, 1, 1, 1]
    words = " ".join(what for what, _ in dropped)
    assert all(word in words for word in ("background", "gone.txt", "listed twice", "outlines"))


def test_label_files_whose_name_fits_no_image_are_counted(write_files):
    folder = write_files({**FILES, "train/labels/b.png.txt": LINE, "train/labels/a.jpg.txt": LINE})
    (folder / "train" / "labels" / "a.txt").unlink()
    dropped = dict(find_yolo(folder).splits["train"].read().dropped)
    assert dropped == {
        "images without a label file, taken as background": 2,
        f"label files without an image left out, such as {folder / 'train/labels/a.jpg.txt'}": 2,
    }


def test_two_files_that_contradict_each_other(write_files):
    folder = write_files({"train/a.jpg": (8, 8), "train/a.txt": LINE, "train/classes.txt": "ape", "classes.txt": "cow"})
    with pytest.raises(UserError, match=r"train.classes\.txt: has other class names than .*classes\.txt"):
        find_yolo(folder)
    folder = write_files({"a.yaml": YAML, "b.yaml": YAML, **{k: v for k, v in FILES.items() if k != "data.yaml"}})
    with pytest.raises(UserError, match=r"2 files describe YOLO data, a\.yaml, b\.yaml"):
        find_yolo(folder)
    assert split_names(folder / "b.yaml")["val"] == ["valid/images/c.jpg"]


@pytest.mark.parametrize("pattern", ["images/{}/{}.jpg", "{}/images/{}.jpg", "{}/{}.jpg"])
def test_labelled_folders_beside_those_of_the_splits_are_said(write_files, pattern):
    for name in ("train", "val", "more", "train_old", "unlabelled"):
        image = pattern.format(name, name)
        write_files({image: (8, 8)})
        label = image.replace("images", "labels").replace(".jpg", ".txt")
        folder = write_files({label: LINE} if name != "unlabelled" else {})
    found = find_yolo(folder)
    assert f"(not {os.path.dirname(pattern.format('more', ''))} and 1 more, which names no split)" in found.why
    assert list(found.splits) == ["train", "val"]


def test_a_split_with_a_number_beside_one_without(write_files):
    images = ("images/Train/a.jpg", "images/val2017/b.jpg", "images/train2017/c.jpg", "images/test_old/d.jpg")
    labels = {name.replace("images", "labels").replace(".jpg", ".txt"): LINE for name in images}
    found = find_yolo(write_files({**labels, **dict.fromkeys(images, (8, 8))}))
    assert {split: source.where[0].rsplit("/", 1)[1] for split, source in found.splits.items()} == {
        "train": "Train",
        "val": "val2017",
    }
    assert "(not images/test_old and 1 more" in found.why


def test_hundreds_of_images_without_a_label_come_first(write_files):
    folder = write_files({"images/z.jpg": (8, 8), "labels/z.txt": LINE})
    for number in range(300):
        (folder / "images" / f"{number}.jpg").touch()
    assert find_yolo(folder).splits["all"].read().class_rows.tolist() == [0]


def test_folders_of_pictures_that_each_list_the_classes(write_files):
    """As labelImg writes them."""
    one = {"one/a.jpg": (8, 8), "one/a.txt": LINE, "one/classes.txt": "ape\ncow"}
    folder = write_files({**one, **{name.replace("one", "two"): content for name, content in one.items()}})
    data = find_yolo(folder).splits["all"].read()
    assert (list(data.file_names), data.classes.names) == (["one/a.jpg", "two/a.jpg"], ("ape", "cow"))
    write_files({"two/classes.txt": "cow\nape"})
    with pytest.raises(UserError, match=r"two.classes\.txt: has other class names than .*or name one of the data sets"):
        find_yolo(folder)
    write_files({"two/data.yaml": "names: [cow, ape]"})
    assert find_yolo(folder) is None


def test_nothing_leads_out_of_the_folder_unless_it_may(write_files, tmp_path):
    write_files({"out/images/x.jpg": (10, 10), "out/labels/x.txt": LINE})
    outside = str(tmp_path / "out" / "images" / "x.jpg")
    folder = write_files({"data.yaml": "train: train.txt\nnames: [ape]", "in/images/a.jpg": (8, 8)}, tmp_path / "data")
    for line in (outside, "../out/images/x.jpg"):
        (folder / "train.txt").write_text(f"in/images/a.jpg\n{line}\n")
        with pytest.raises(UserError, match=r"train\.txt: line 2: .*outside_images true"):
            split_names(folder)
        assert split_names(folder, outside_images=True)["train"] == [outside, "in/images/a.jpg"]
    (folder / "train.txt").write_text(str(folder / "in" / "images" / "a.jpg"))
    assert split_names(folder)["train"] == ["in/images/a.jpg"]
    (folder / "data.yaml").write_text("train: ../out/images\nnames: [ape]")
    with pytest.raises(UserError, match=r"data\.yaml: train: .*outside_images true"):
        find_yolo(folder)
    data = find_yolo(folder, outside_images=True).splits["train"].read()
    assert list(data.file_names) == [outside]
    assert len(data.boxes) == 1
    assert len(DetectionDataset(data)) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"train/images/a.jpg\n\nx\0.jpg", "line 3: .* has a NUL"),
        (b"\ntrain/labels/a.txt", "line 2: .* is not named as an image file"),
        (b"", "has no images"),
    ],
)
def test_a_wrong_list_is_named(write_files, text, problem):
    folder = write_files({**FILES, "data.yaml": YAML.replace("train/images", "train.txt"), "train.txt": text})
    with pytest.raises(UserError, match=rf"train\.txt: {problem}"):
        split_names(folder)


def test_images_that_cannot_be_read_are_left_to_the_data_set(write_files):
    folder = write_files({**FILES, "train/images/d.jpg": b"broken", "train/labels/d.txt": LINE})
    (folder / "train.txt").write_text("train/images/a.jpg\ntrain/images/d.jpg\ntrain/images/gone.jpg\n")
    (folder / "data.yaml").write_text(YAML.replace("train/images", "train.txt"))
    data = find_yolo(folder).splits["train"].read()
    assert data.image_sizes.tolist() == [[50, 100], [0, 0], [0, 0]]
    with pytest.raises(UserError, match=r"(?s)2 of its 3 images cannot be read.*gone\.jpg: no such image file"):
        DetectionDataset(data)
    assert len(DetectionDataset(data, unreadable="skip")) == 1


def test_links_that_lead_in_circles(write_files):
    folder = write_files(FILES)
    (folder / "train" / "images" / "again").symlink_to(folder / "train", target_is_directory=True)
    assert split_names(folder)["train"] == ["train/images/a.jpg", "train/images/b.png"]


def test_a_split_without_labels_says_so(write_files):
    folder = write_files({**FILES, "data.yaml": YAML, "valid/labels/c.txt": ""})
    (folder / "train" / "labels" / "a.txt").unlink()
    for split, why in (("train", "none of its 2 images has a label file"), ("val", "label files of its 1 images")):
        with pytest.raises(UserError, match=f"no box to train on: .*{why}"):
            DetectionDataset(find_yolo(folder).splits[split].read()).check_trainable()
