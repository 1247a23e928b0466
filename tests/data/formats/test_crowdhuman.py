import json
import os
import pickle

import numpy as np
import pytest

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.crowdhuman import find_crowdhuman, read_crowdhuman
from otadet.errors import UserError

PERSON = {
    "tag": "person",
    "fbox": [10, 5, 20, 30],
    "vbox": [11, 6, 10, 10],
    "hbox": [15, 5, 5, 5],
    "extra": {"box_id": 0, "occ": 0},
    "head_attr": {"ignore": 0, "occ": 0, "unsure": 0},
}
MASK = {"tag": "mask", "fbox": [50, 5, 40, 40], "vbox": [0, 0, 1, 1], "hbox": [0, 0, 1, 1], "extra": {"ignore": 1}}
IGNORED = {**PERSON, "extra": {"ignore": 1}}
NO_HEAD = {**PERSON, "head_attr": {"ignore": 1}}


def odgt(*entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def entry(*boxes, name="a,1"):
    return {"ID": name, "gtboxes": list(boxes)}


def write(folder, text):
    path = folder / "annotation_train.odgt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("boxes", "expected", "ignored"),
    [
        ("full", [[10, 5, 30, 35]] + [[50, 5, 90, 45]] + [[10, 5, 30, 35]] * 2, [0, 1, 1, 0]),
        ("visible", [[11, 6, 21, 16]] + [[50, 5, 90, 45]] + [[11, 6, 21, 16]] * 2, [0, 1, 1, 0]),
        ("head", [[15, 5, 20, 10]] + [[50, 5, 90, 45]] + [[15, 5, 20, 10]] * 2, [0, 1, 1, 1]),
    ],
)
def test_boxes_of_each_kind(write_files, boxes, expected, ignored):
    folder = write_files(
        {"annotation_train.odgt": odgt(entry(PERSON, MASK, IGNORED, NO_HEAD)), "Images/a,1.jpg": (100, 50)}
    )
    annotations = read_crowdhuman(folder / "annotation_train.odgt", folder, boxes=boxes)
    np.testing.assert_array_equal(annotations.boxes, expected)
    assert annotations.ignored.tolist() == [bool(flag) for flag in ignored]
    assert annotations.classes.names == (("head",) if boxes == "head" else ("person",))
    assert annotations.protocol == "crowdhuman"
    dataset = DetectionDataset(annotations)
    assert dataset.sizes.tolist() == [[50, 100]]
    assert (dataset.counts.boxes, dataset.counts.ignored) == (ignored.count(0), ignored.count(1))


def test_the_folders_of_crowdhuman(write_files):
    folder = write_files(
        {
            "annotation_train.odgt": "\ufeff"
            + odgt(entry(PERSON, name="b"), entry(name="a")).replace("\n", "\r\n\r\n"),
            "annotation_val.odgt": odgt(entry(PERSON, PERSON, name="c")),
            "CrowdHuman_train01/Images/b.jpg": (100, 50),
            "CrowdHuman_train02/Images/a.jpg": (100, 50),
            "CrowdHuman_val/Images/c.png": (100, 50),
        }
    )
    layout = find_crowdhuman(folder, boxes="visible")
    assert (layout.format, layout.why) == ("CrowdHuman", "annotation_train.odgt, annotation_val.odgt")
    assert list(layout.splits) == ["train", "val"]
    train = pickle.loads(pickle.dumps(layout.splits["train"])).read()
    assert list(train.file_names) == [
        os.path.join(f"CrowdHuman_train0{n}", "Images", f"{x}.jpg") for n, x in ("1b", "2a")
    ]
    assert train.image_rows.tolist() == [0]
    assert len(layout.splits["val"].read().boxes) == 2


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (("annotations/annotation_train.odgt", "annotations/annotation_val.odgt"), ["train", "val"]),
        (("train/annotation.odgt", "val/annotation.odgt"), ["train", "val"]),
        (("labels/people.odgt",), ["all"]),
        (("one/train.odgt", "two/train.odgt"), None),
    ],
)
def test_files_in_the_folders_below(write_files, files, splits):
    named = {file: odgt(entry(PERSON, name=f"{number}")) for number, file in enumerate(files)}
    folder = write_files({**named, **{f"Images/{number}.jpg": (100, 50) for number in range(len(files))}})
    layout = find_crowdhuman(folder)
    assert (layout and list(layout.splits)) == splits
    if layout:
        assert layout.why == ", ".join(files)
        read = [list(source.read().file_names) for source in layout.splits.values()]
        assert read == [[os.path.join("Images", f"{number}.jpg")] for number in range(len(files))]


def test_a_file_that_names_no_split(write_files, tmp_path):
    folder = write_files({"people.odgt": odgt(entry(PERSON))})
    assert list(find_crowdhuman(folder).splits) == ["all"]
    write_files({"more.odgt": odgt(entry(PERSON))})
    with pytest.raises(UserError, match=r"\.odgt: does not say train, val or test"):
        find_crowdhuman(folder)
    folder = write_files({"a_train.odgt": odgt(entry()), "b_train.odgt": odgt(entry())}, tmp_path / "twice")
    with pytest.raises(UserError, match=r"b_train\.odgt: is for train, as a_train\.odgt is"):
        find_crowdhuman(folder)
    assert find_crowdhuman(write_files({"a.odgt": '{"x": 1}'}, tmp_path / "other")) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"ID": "b", "gtboxes": [', "not valid JSON, perhaps cut short"),
        (b'{"ID": "\xff"}', "is not in UTF-8"),
        (b'{"ID": "b"}\0', "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 10_000, "Exceeds the limit"),
        ("[1]", r"is \[1\]; expected is an object"),
        ("{}", "ID is None"),
        ('{"ID": 5}', "ID is 5"),
        ('{"ID": "b", "ID": "c"}', "has the key 'ID' twice"),
        ('{"ID": "../b"}', "leads out of the image folder"),
        ('{"ID": "a,1"}', "has the ID 'a,1' of line 1 again"),
        ('{"ID": "b", "gtboxes": 1}', "gtboxes is 1, not a list"),
        ('{"ID": "b", "gtboxes": [1]}', r"gtboxes\[0\]: is 1; expected"),
        (odgt(entry(PERSON, {**PERSON, "tag": 1}, name="b")), r"gtboxes\[1\]: tag is 1"),
        (odgt(entry({**PERSON, "fbox": [1, 2, 3]}, name="b")), r"gtboxes\[0\]: fbox is \[1, 2, 3\]"),
        (odgt(entry({**PERSON, "fbox": [1, 2, 3, True]}, name="b")), r"gtboxes\[0\]: fbox is"),
        (odgt(entry({**PERSON, "fbox": [1, 2, 3, 10**400]}, name="b")), "too large a number"),
        (odgt(entry({**PERSON, "extra": 1}, name="b")), r"gtboxes\[0\]: extra is 1, not an object"),
        (odgt(entry({**PERSON, "extra": {"ignore": "x"}}, name="b")), r"extra: ignore is 'x'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, problem):
    line = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path, odgt(entry(PERSON)).encode() + b"\n" + line)
    with pytest.raises(UserError, match=rf"train\.odgt: line 3: .*{problem}"):
        read_crowdhuman(path, tmp_path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match="no such annotation file"):
        read_crowdhuman(tmp_path / "gone.odgt", tmp_path)
    with pytest.raises(UserError, match="is a folder"):
        read_crowdhuman(tmp_path, tmp_path)
    os.mkfifo(tmp_path / "pipe.odgt")
    with pytest.raises(UserError, match="a pipe"):
        read_crowdhuman(tmp_path / "pipe.odgt", tmp_path)
    with pytest.raises(UserError, match="has no line"):
        read_crowdhuman(write(tmp_path, "\n"), tmp_path)


def test_what_is_left_out_is_counted(tmp_path):
    no_head = {key: value for key, value in PERSON.items() if key != "hbox"}
    path = write(tmp_path, odgt(entry(no_head, {**PERSON, "tag": "dog"}), {"ID": "b"}))
    annotations = read_crowdhuman(path, tmp_path, boxes="head")
    assert [number for _, number in annotations.dropped] == [1, 1, 1]
    assert annotations.ignored.tolist() == [True]


def test_an_image_that_is_there_twice(write_files):
    files = {"annotation_train.odgt": odgt(entry()), "Images/a,1.jpg": (9, 9), "small/a,1.jpg": (9, 9)}
    with pytest.raises(UserError, match=r"line 1: ID 'a,1' is Images.a,1\.jpg and small.a,1\.jpg"):
        find_crowdhuman(write_files(files)).splits["train"].read()


def test_boxes_that_are_no_boxes_are_counted_by_the_data_set(write_files):
    odd = [[float("nan"), 0, 5, 5], [1e308, 0, 1e308, 5], [10, 10, -5, 5], [500, 500, 5, 5]]
    lines = odgt(entry(PERSON, *({**PERSON, "fbox": box} for box in odd)))
    folder = write_files({"annotation_train.odgt": lines, "a,1.jpg": (100, 50)})
    counts = DetectionDataset(read_crowdhuman(folder / "annotation_train.odgt", folder)).counts
    assert (counts.boxes, counts.degenerate) == (1, 4)
