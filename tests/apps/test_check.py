"""The check finds every planted fault, and nothing in what has none."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from otadet.apps import check, check_sheet
from otadet.data.check.kinds import KINDS
from otadet.errors import UserError
from otadet.exp import DataFolder
from otadet.visualize.canvas import HATCHED
from otadet.visualize.palette import distinct_color
from tests.helpers.annotated_folder import AnnotatedFolder, picture
from tests.helpers.own_pictures import WRITERS, write_crowdhuman, write_voc, write_yolo


def checked(capsys: pytest.CaptureFixture, path: Path, *options: str) -> tuple[int, dict]:
    """Exit status, and what --json prints."""
    status = 0
    try:
        check.main([str(path), "--json", "--size", "64x64", *options])
    except SystemExit as ended:
        status = int(ended.code or 0)
    return status, json.loads(capsys.readouterr().out)


def ids(report: dict, above: str = "") -> set[str]:
    return {finding["id"] for finding in report["findings"] if finding["severity"] != above}


def missing(folder: AnnotatedFolder) -> None:
    folder.file("train", "clip0_000.png").unlink()


def cut_short(folder: AnnotatedFolder) -> None:
    file = folder.file("train", "clip0_001.png")
    file.write_bytes(file.read_bytes()[:-400])


def other_size(folder: AnnotatedFolder) -> None:
    folder.images["train"][2] |= {"height": 128, "width": 128}


def listed_twice(folder: AnnotatedFolder) -> None:
    folder.add("train", "clip1_001.png")


def file_in_two_splits(folder: AnnotatedFolder) -> None:
    folder.add("val", "copy.png")
    shutil.copy(folder.file("train", "clip2_000.png"), folder.file("val", "copy.png"))


def alike_in_two_splits(folder: AnnotatedFolder) -> None:
    pixels = cv2.resize(cv2.imread(str(folder.file("train", "clip2_001.png"))), (80, 80))
    folder.add("val", "again.jpg", (pixels * 0.9 + 20).astype(np.uint8), size=80)


def twice(folder: AnnotatedFolder) -> None:
    folder.add("train", "second.png")
    shutil.copy(folder.file("train", "clip3_000.png"), folder.file("train", "second.png"))


def alike(folder: AnnotatedFolder) -> None:
    folder.add("train", "recoded.jpg", cv2.imread(str(folder.file("train", "clip3_001.png"))))


def rotated(folder: AnnotatedFolder) -> None:
    folder.add("train", "turned.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(100)).save(folder.file("train", "turned.jpg"), exif=exif)


def unlisted(folder: AnnotatedFolder) -> None:
    cv2.imwrite(str(folder.file("val", "forgotten.png")), picture(101))


def blank(folder: AnnotatedFolder) -> None:
    folder.add("train", "black.png", np.zeros((64, 64, 3), np.uint8))


def twelve_bits(folder: AnnotatedFolder) -> None:
    folder.add("train", "sensor.png", picture(102)[..., 0].astype(np.uint16) << 4)


def torn_clip(folder: AnnotatedFolder) -> None:
    folder.add("val", "clip4_007.png", picture(103))


def boxes(folder: AnnotatedFolder, *made: list[float], label: int = 0) -> None:
    for number, box in enumerate(made):
        folder.box("train", folder.images["train"][10 + number]["id"], box, label)


def degenerate(folder: AnnotatedFolder) -> None:
    boxes(folder, [10, 10, 0, 5])


def outside(folder: AnnotatedFolder) -> None:
    boxes(folder, [200, 10, 10, 10])


def over_edge(folder: AnnotatedFolder) -> None:
    boxes(folder, [50, 40, 20, 12])


def box_twice(folder: AnnotatedFolder) -> None:
    boxes(folder, [40, 40, 20, 20])
    boxes(folder, [40, 40.3, 20, 20])


def two_classes(folder: AnnotatedFolder) -> None:
    boxes(folder, [1, 40, 20, 20])
    boxes(folder, [1, 40, 20, 20], label=1)


def repeated(folder: AnnotatedFolder) -> None:
    boxes(folder, *[[30.5, 31, 20, 25]] * 5)


def tiny(folder: AnnotatedFolder) -> None:
    boxes(folder, [50, 5, 1.5, 12])


def huge(folder: AnnotatedFolder) -> None:
    boxes(folder, [0, 0, 64, 63])


def thin(folder: AnnotatedFolder) -> None:
    boxes(folder, [2, 50, 60, 4])


def small(folder: AnnotatedFolder) -> None:
    for number in range(60):
        place = folder.images["train"][number % 6]["id"]
        folder.box("train", place, [5 * (number // 6) + 0.3 * (number % 6), 58, 4, 4], 0)


def add_class(folder: AnnotatedFolder, name: str, train: int, val: int, *, listed: bool = True) -> None:
    """A class with so many boxes per split. listed: in the training split, too."""
    label = max(len(folder.categories["train"]), len(folder.categories["val"]))
    for split, count in (("train", train), ("val", val)):
        if listed or split == "val":
            folder.categories[split].append({"id": label, "name": name})
        for number in range(count):
            image = folder.images[split][number % 8]["id"]
            folder.box(split, image, [1 + label + 0.7 * number, 40 + 0.1 * number, 12, 14], label)


def unknown(folder: AnnotatedFolder) -> None:
    add_class(folder, "dog", 0, 3, listed=False)


def untrained(folder: AnnotatedFolder) -> None:
    add_class(folder, "eel", 0, 3)


def unmeasured(folder: AnnotatedFolder) -> None:
    add_class(folder, "fox", 12, 0)


def unused(folder: AnnotatedFolder) -> None:
    add_class(folder, "gnu", 0, 0)


def other_case(folder: AnnotatedFolder) -> None:
    add_class(folder, "Ape ", 12, 3)


def rare(folder: AnnotatedFolder) -> None:
    add_class(folder, "hen", 3, 3)


PLANTS = {
    "image-missing": missing,
    "image-unreadable": cut_short,
    "image-size": other_size,
    "image-listed-twice": listed_twice,
    "image-in-two-splits": file_in_two_splits,
    "image-alike-in-two-splits": alike_in_two_splits,
    "image-twice": twice,
    "image-alike": alike,
    "image-rotated": rotated,
    "image-unlisted": unlisted,
    "image-blank": blank,
    "image-bits": twelve_bits,
    "split-groups": torn_clip,
    "box-degenerate": degenerate,
    "box-outside": outside,
    "box-over-edge": over_edge,
    "box-twice": box_twice,
    "box-of-two-classes": two_classes,
    "box-repeated": repeated,
    "box-tiny": tiny,
    "box-huge": huge,
    "box-thin": thin,
    "box-small": small,
    "label-unknown": unknown,
    "label-untrained": untrained,
    "label-unmeasured": unmeasured,
    "label-unused": unused,
    "label-alike": other_case,
    "label-rare": rare,
}
"""Id of a finding -> what plants the fault."""
BY_THEMSELVES = {"split-unreadable", "entry-broken", "split-no-boxes", "label-only-one", "reader-dropped"}
"""Found by tests of their own, as they exclude others."""
SMALL = "split-small"


@pytest.fixture
def folder(tmp_path) -> AnnotatedFolder:
    return AnnotatedFolder.clean(tmp_path / "data")


def test_a_clean_set_has_nothing_above_a_note(folder, capsys):
    folder.write()
    status, report = checked(capsys, folder.path)
    assert ids(report) == {SMALL}
    assert status == 0


@pytest.mark.parametrize("fault", PLANTS)
def test_one_fault_is_one_finding(fault, folder, capsys):
    PLANTS[fault](folder)
    folder.write()
    _, report = checked(capsys, folder.path)
    assert ids(report) == {fault, SMALL}
    assert len(report["findings"]) == 3
    assert all(finding["files"] and finding["fix"] and finding["message"] for finding in report["findings"])


def test_all_faults_at_once(folder, capsys):
    for plant in PLANTS.values():
        plant(folder)
    folder.write()
    status, report = checked(capsys, folder.path)
    assert ids(report) == {*PLANTS, SMALL}
    assert status == check.FOUND_ERRORS
    severities = [finding["severity"] for finding in report["findings"]]
    assert severities == sorted(severities, key=("error", "warning", "note").index)


def test_every_kind_is_planted():
    assert {*PLANTS, SMALL} | BY_THEMSELVES == {kind.id for kind in KINDS}


def test_a_split_that_cannot_be_read_leaves_the_others(folder, capsys):
    degenerate(folder)
    unlisted(folder)
    folder.write()
    file = folder.path / "annotations/instances_val.json"
    file.write_text(file.read_text()[:-20])
    status, report = checked(capsys, folder.path)
    assert ids(report) == {"split-unreadable", "box-degenerate", SMALL}
    found = report["findings"][0]
    assert found["split"] == "val"
    assert "not valid JSON, perhaps cut short" in found["message"]
    assert status == check.FOUND_ERRORS


@pytest.mark.parametrize("format", ["coco", "crowdhuman"])
def test_images_beside_those_of_one_file_may_be_of_another_split(format, tmp_path, capsys):
    folder = WRITERS[format](tmp_path, {"train": ["a.png", "b.png"], "val": ["c.png"]})
    file = folder / ("val.json" if format == "coco" else "annotation_val.odgt")
    assert "image-unlisted" not in ids(checked(capsys, file)[1])
    (folder / ("train.json" if format == "coco" else "annotation_train.odgt")).unlink()
    assert "image-unlisted" in ids(checked(capsys, folder)[1])


def broken_entries(report: dict) -> list[tuple[str, str]]:
    """Name of the file, and what is wrong, of each entry."""
    (found,) = (one for one in report["findings"] if one["id"] == "entry-broken")
    assert found["count"] == len(found["files"])
    assert "split-unreadable" not in ids(report)
    return [(Path(one["file"]).name, one["problem"]) for one in found["files"]]


def test_all_entries_of_coco_that_are_wrong_are_named_and_the_others_looked_at(folder, capsys):
    degenerate(folder)
    images, boxes, classes = folder.images["val"], folder.annotations["val"], folder.categories["val"]
    boxes[0]["image_id"] = 99
    boxes[2]["bbox"] = "wide"
    boxes[3]["bbox"] = [1, 2, 3]
    boxes[4]["category_id"] = "ape"
    boxes[5] = None
    del boxes[7]["bbox"]
    boxes[8] |= {"id": boxes[1]["id"], "area": "large"}
    boxes[10]["id"] = boxes[1]["id"]
    del boxes[11]["id"]
    # The rest of an image is taken: its file is known, and its boxes are those of the first of that id.
    images[4]["width"] = "wide"
    images[5]["id"] = images[6]["id"]
    images[7]["file_name"] = "../else.png"
    classes += [{"id": 7}, {"id": 1, "name": "dog"}, {"id": 8, "name": "cat"}, 5]
    boxes[12]["area"] = 77
    folder.write()
    file = folder.path / "annotations/instances_val.json"
    file.write_text(file.read_text().replace('"area": 77', '"bbox": [1, 2, 3, 4]'))
    status, report = checked(capsys, folder.path)
    assert status == check.FOUND_ERRORS
    assert broken_entries(report) == [
        ("instances_val.json", problem)
        for problem in (
            "annotations[2]: bbox is 'wide', not four numbers x, y, width, height",
            "annotations[3]: bbox is [1, 2, 3], not four numbers x, y, width, height",
            "annotations[4]: category_id is 'ape', not a whole number",
            "annotations[5]: is None, not an object",
            "annotations[7]: has no 'bbox'",
            "annotations[8]: area is 'large', not a number",
            "annotations[12]: has the key 'bbox' twice",
            "images[4]: width is 'wide', not a number",
            f"images[6]: has the id {images[6]['id']} of images[5] again",
            "images[7]: file_name '../else.png' leads out of the image folder; correct it, or set outside_images true",
            "categories[6]: is 5, not an object",
            "categories[3]: has no 'name'",
            "categories[4]: has the id 1 of categories[1] again",
            "annotations[11]: has no 'id'",
            f"annotations[10]: has the id {boxes[1]['id']} of annotations[1] again",
            "annotations[0]: image_id 99 is not in the file",
            *(f"annotations[{place}]: image_id 22 is not in the file" for place in (15, 16, 17)),
            "two categories are named 'cat', with the ids 2 and 8; no box has the id 8: remove that entry",
        )
    ]
    assert "box-degenerate" in ids(report)
    assert report["splits"]["val"]["images"] == 7
    # Of 24 one of no image, seven wrong, three whose image has another's id, three whose image has no name.
    assert report["splits"]["val"]["boxes"] == 24 - 1 - 7 - 3 - 3


@pytest.mark.parametrize("format", ["yolo", "voc", "crowdhuman"])
def test_entries_that_are_wrong_are_named_and_the_others_looked_at(format, tmp_path, capsys):
    names = [f"{number}.png" for number in range(4)]
    path = WRITERS[format](tmp_path / "my own", {"train": names, "val": [f"v{name}" for name in names]})
    wrong = {"yolo": spoil_yolo, "voc": spoil_voc, "crowdhuman": spoil_crowdhuman}[format](path)
    status, report = checked(capsys, path)
    for (name, problem), (wanted, begins) in zip(broken_entries(report), wrong, strict=True):
        assert name == wanted
        assert problem.startswith(begins)
    assert report["splits"]["train"]["images"] == 4
    assert report["splits"]["train"]["boxes"] == 2
    with pytest.raises(UserError, match=rf"\(and {len(wrong) - 1} more: `otadet check '.*my own'` lists them\)$"):
        DataFolder(str(path)).train()
    assert "image-unlisted" not in ids(report)
    assert status == check.FOUND_ERRORS


def test_persons_of_crowdhuman_may_go_on_past_the_edge(tmp_path, capsys):
    folder = write_crowdhuman(tmp_path, {"train": ["a.png", "b.png"], "val": ["c.png"]})
    file = folder / "annotation_train.odgt"
    file.write_text(file.read_text().replace('"fbox": [10, 8, 24, 24]', '"fbox": [-10, 8, 24, 60]'))
    report = checked(capsys, folder)[1]
    assert report["splits"]["train"]["boxes"] == 2
    assert not {one for one in ids(report) if one.startswith("box-")}


def spoil_yolo(path: Path) -> list[tuple[str, str]]:
    """Names of files, and how what is said about an entry of theirs begins."""
    labels = path / "train/labels"
    (labels / "0.txt").write_text((labels / "0.txt").read_text() + "\n0 0.5 wide 0.1 0.1\n1 2\n")
    (labels / "1.txt").write_text("0 0.5 0.5 5 0.1\n-1 .5 .5 .1 .1\n")
    (labels / "2.txt").unlink()
    return [
        ("0.txt", "line 3: 'wide' is not a number"),
        ("0.txt", "line 4: has 2 numbers"),
        ("1.txt", "line 1: '5' is no share of the image"),
        ("1.txt", "line 2: its class is '-1'"),
    ]


def spoil_voc(path: Path) -> list[tuple[str, str]]:
    files = path / "Annotations"
    text = (files / "0.xml").read_text()
    (files / "0.xml").write_text(text.replace("xmin", "xmax"))
    (files / "1.xml").write_text(text[: len(text) // 2])
    with open(path / "ImageSets/Main/train.txt", "a") as file:
        file.write("nobody\n")
    return [
        ("train.txt", "line 5: 'nobody' has no XML file and no image"),
        ("0.xml", "object[0]: its bndbox has no xmin"),
        ("1.xml", "not valid XML, perhaps cut short"),
    ]


def spoil_crowdhuman(path: Path) -> list[tuple[str, str]]:
    file = path / "annotation_train.odgt"
    lines = file.read_text().splitlines()
    person = {"tag": "person", "fbox": [1, 2, 30, 40]}
    lines[0] = json.dumps({"ID": "0", "gtboxes": [person, {**person, "fbox": [1, 2]}, {"fbox": [1, 2, 3, 4]}]})
    lines[1] = lines[1][:-10]
    lines[2] = json.dumps({"ID": "2", "gtboxes": 5})
    lines += ["{}", lines[3]]
    file.write_text("\n".join(lines))
    return [
        ("annotation_train.odgt", "line 1: gtboxes[1]: fbox is [1, 2], not four numbers"),
        ("annotation_train.odgt", "line 1: gtboxes[2]: tag is None"),
        ("annotation_train.odgt", "line 2: not valid JSON, perhaps cut short"),
        ("annotation_train.odgt", "line 3: gtboxes is 5, not a list"),
        ("annotation_train.odgt", "line 5: ID is None"),
        ("annotation_train.odgt", "line 6: has the ID '3' of line 4 again"),
    ]


def test_splits_may_number_their_pictures_alike_and_a_file_in_two_of_them_is_one_finding(folder, capsys):
    for split in folder.images:
        for number, row in enumerate(folder.images[split]):
            folder.file(split, row["file_name"]).rename(folder.file(split, f"{number:06}.png"))
            row["file_name"] = f"{number:06}.png"
    folder.write()
    assert ids(checked(capsys, folder.path)[1]) == {SMALL}
    path = write_yolo(folder.path / "yolo", {"train": [f"clip{number}_01.png" for number in range(12)]})
    (path / "data.yaml").write_text("train: train/images\nval: train/images\nnames: [square]\n")
    found = ids(checked(capsys, path)[1])
    assert "image-in-two-splits" in found
    assert "split-groups" not in found


def test_no_boxes_and_one_class(folder, capsys):
    for split in folder.categories:
        folder.categories[split] = folder.categories[split][:1]
        folder.annotations[split] = [one for one in folder.annotations[split] if one["category_id"] == 0]
    folder.annotations["val"] = []
    folder.write()
    _, report = checked(capsys, folder.path)
    assert ids(report) == {"split-no-boxes", "label-only-one", "label-unmeasured", SMALL}


def test_what_a_reader_left_out_is_named(tmp_path, capsys):
    names = [f"{number}.png" for number in range(4)]
    yolo = write_yolo(tmp_path / "yolo", {"train": names, "val": ["v.png"]})
    (yolo / "train/labels/1.txt").unlink()
    (yolo / "train/images/2.png").unlink()
    voc = write_voc(tmp_path / "voc", {"train": names, "val": ["v.png"]})
    (voc / "Annotations/1.xml").unlink()
    for folder, told in (
        (yolo, {"1 image without a label file": "1.png"}),
        (voc, {"1 image without an XML file, taken": "1.png"}),
    ):
        report = checked(capsys, folder)[1]
        found = [one for one in report["findings"] if one["id"] == "reader-dropped"]
        assert ("image-missing" in ids(report)) == (folder == yolo)
        for one, (message, name) in zip(found, told.items(), strict=True):
            assert one["message"].startswith(message)
            (place,) = one["files"]
            assert Path(place["file"]).name == name


def test_what_the_reader_repaired_in_yolo(tmp_path, capsys):
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        for number in range(12):
            seed = number + 20 * (split == "val")
            cv2.imwrite(str(tmp_path / f"images/{split}/{seed}.png"), picture(seed))
            lines = [f"{label} 0.{5 + label} 0.{30 + number} 0.25 0.{20 + number}" for label in (0, 1)]
            (tmp_path / f"labels/{split}/{seed}.txt").write_text("\n".join(lines) + "\n")
    with open(tmp_path / "labels/train/0.txt", "a") as file:
        file.write("0 0.1 0.6 0.3 0.6 0.2 0.9\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [ape, bear]\n")
    status, report = checked(capsys, tmp_path)
    assert ids(report) == {"reader-dropped", SMALL}
    assert status == 0


@pytest.mark.parametrize(
    ("fault", "fail_on", "status"),
    [
        ("image-missing", "warning", 4),
        ("image-missing", "never", 0),
        ("box-tiny", "warning", 3),
        ("box-tiny", "error", 0),
    ],
)
def test_the_status_is_that_of_the_severity(fault, fail_on, status, folder, capsys):
    PLANTS[fault](folder)
    folder.write()
    assert checked(capsys, folder.path, "--fail-on", fail_on)[0] == status


def test_fast_looks_at_headers_alone(folder, capsys):
    missing(folder)
    other_size(folder)
    alike_in_two_splits(folder)
    folder.write()
    assert ids(checked(capsys, folder.path, "--fast")[1]) == {"image-missing", "image-size", SMALL}


def test_files_and_boxes_are_named(folder, capsys):
    outside(folder)
    file_in_two_splits(folder)
    folder.write()
    found = {finding["id"]: finding for finding in checked(capsys, folder.path)[1]["findings"]}
    box = found["box-outside"]
    assert box["count"] == 1
    assert box["files"] == [
        {"file": str(folder.file("train", "clip5_000.png")), "split": "train", "boxes": [[200, 10, 210, 20]]}
    ]
    pair = found["image-in-two-splits"]
    assert pair["paired"]
    assert [(one["split"], Path(one["file"]).name) for one in pair["files"]] == [
        ("train", "clip2_000.png"),
        ("val", "copy.png"),
    ]


def test_the_report_for_people(folder, capsys):
    alike_in_two_splits(folder)
    folder.write()
    with pytest.raises(SystemExit) as ended:
        check.main([str(folder.path), "--size", "64x64", "--list", "1"])
    assert ended.value.code == check.FOUND_WARNINGS
    printed = capsys.readouterr().out
    assert "train: 16 images (0 without boxes), 48 boxes, 3 classes" in printed
    assert "0 errors, 1 warning, 2 notes" in printed
    assert f"{folder.file('train', 'clip2_001.png')} = {folder.file('val', 'again.jpg')}" in printed
    assert "suggestions for training" in printed


def test_the_sheet_shows_what_was_found(folder, capsys, tmp_path):
    for plant in (cut_short, degenerate, outside, tiny, file_in_two_splits):
        plant(folder)
    folder.annotations["train"][0]["bbox"] = [float("nan"), 0, 1, 1]
    folder.write()
    checked(capsys, folder.path, "--sheet", str(tmp_path / "sheet.png"), "--workers", "1")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] > 1900
    assert (sheet != 255).mean() > 0.5


def test_the_sheet_hatches_ignored_regions(folder, capsys, tmp_path):
    """A crowd is no object of its class."""
    sheets = []
    for crowd in (0, 1):
        for one in folder.annotations["train"] + folder.annotations["val"]:
            one["iscrowd"] = crowd * (one["category_id"] == 0)
        folder.write()
        checked(capsys, folder.path, "--sheet", str(tmp_path / "sheet.png"))
        sheets.append(cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1])
    first, hatch = distinct_color(0), np.array(HATCHED[0])
    of_first, hatched = ([int((sheet == color).all(axis=2).sum()) for sheet in sheets] for color in (first, hatch))
    assert of_first[0] > 1000
    assert of_first[1] == 0
    assert hatched[1] > hatched[0] + 1000


def test_the_sheet_holds_no_large_images(folder, capsys, tmp_path, monkeypatch):
    pictures = []
    monkeypatch.setattr(check_sheet, "annotation_sheet", lambda shown, names, out: pictures.extend(shown))
    pixels = np.zeros((1600, 2400, 3), np.uint8)
    pixels[400:800, 600:1800] = 250
    row = folder.add("val", "large.png", pixels)
    folder.images["val"][-1] |= {"height": 1600, "width": 2400}
    folder.box("val", row, [600, 400, 1200, 400], 0)
    folder.box("val", row, [1500, 0, 0, 4], 0)
    folder.write()
    checked(capsys, folder.path, "--sheet", str(tmp_path / "sheet.png"))
    shown = next(one for one in pictures if one.file == "val large.png")
    assert shown.image.shape == (640, 960, 3)
    np.testing.assert_allclose(shown.boxes[0], (240, 160, 720, 320))
    assert shown.image[165:315, 245:715].min() == 250


def test_the_sheet_has_no_image_that_cannot_be_seen(folder, capsys, tmp_path):
    for row in folder.images["train"]:
        folder.file("train", row["file_name"]).unlink()
    folder.write()
    with pytest.raises(SystemExit):
        check.main([str(folder.path), "--sheet", str(tmp_path / "sheet.png")])
    assert f"4 pictures: {tmp_path / 'sheet.png'}" in capsys.readouterr().out
    for row in folder.images["val"]:
        folder.file("val", row["file_name"]).unlink()
    with pytest.raises(SystemExit):
        check.main([str(folder.path), "--sheet", str(tmp_path / "other.png")])
    assert "not written, as no image can be shown" in capsys.readouterr().out
    assert not (tmp_path / "other.png").exists()


def test_mistakes_of_the_user(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        check.main([str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match="--list -1"):
        check.main([str(tmp_path), "--list", "-1"])
    with pytest.raises(UserError, match="--size big"):
        check.main([str(tmp_path), "--size", "big"])
    with pytest.raises(UserError, match="data: those of PATH are checked"):
        check.main([str(tmp_path), "data", "elsewhere"])


def test_the_size_is_that_of_the_experiment(folder, capsys):
    folder.write()
    check.main([str(folder.path), "--json", "-f", "quickstart", "input.resize", "96x96"])
    assert json.loads(capsys.readouterr().out)["size"] == "96x96"


@pytest.mark.parametrize("words", [[], ["-f", "my_data"], ["data.exif_orientation", "true"]])
def test_without_a_size_it_is_that_of_the_recipe(words, folder, capsys):
    small(folder)
    folder.write()
    check.main([str(folder.path), "--json", *words])
    assert json.loads(capsys.readouterr().out)["size"] == "256/256"


@pytest.mark.parametrize(("field", "size"), [("input.resize", "96/128"), ("train_resize", "96x128,64x64")])
def test_fields_without_an_experiment_are_those_of_a_training(field, size, folder, capsys):
    folder.write()
    check.main([str(folder.path), "--json", field, size, "lr", "1", "data.val_share", "0.3"])
    printed = capsys.readouterr()
    assert json.loads(printed.out)["size"] == size
    assert "note: optimizer.lr: without effect here" in printed.err
    assert "note: data.val_share: without effect here" in printed.err


def turned_pictures(path: Path) -> Path:
    """Pictures that are stored turned, with boxes for the upright ones: COCO, its sizes too, and YOLO below it."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[8:32, 10:34] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in (path / "images", path / "yolo/images"):
        folder.mkdir(parents=True)
        for number in range(2):
            noisy = np.maximum(pixels, picture(number, 64)[:48] // 4)
            Image.fromarray(np.rot90(noisy)).save(folder / f"{number}.png", exif=exif)
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 48, "width": 64} for n in range(2)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [10, 8, 24, 24]} for n in range(2)],
        "categories": [{"id": 1, "name": "square"}],
    }
    (path / "train.json").write_text(json.dumps(content))
    (path / "yolo/labels").mkdir()
    for number in range(2):
        (path / f"yolo/labels/{number}.txt").write_text(f"0 {22 / 64} {20 / 48} {24 / 64} {24 / 48}\n")
    (path / "yolo/data.yaml").write_text("train: images\nnames: [square]\n")
    return path


@pytest.mark.parametrize("file", ["train.json", "yolo"])
def test_boxes_for_upright_pictures(file, tmp_path, capsys, monkeypatch):
    """The fix is the one that helps, and the sheet shows by which pictures it is known."""
    pictures = []
    monkeypatch.setattr(check_sheet, "annotation_sheet", lambda shown, names, out: pictures.extend(shown))
    data = turned_pictures(tmp_path) / file
    report = checked(capsys, data, "--sheet", str(tmp_path / "sheet.png"))[1]
    fixes = {finding["id"]: finding["fix"] for finding in report["findings"]}
    assert "data.exif_orientation true" in fixes["image-rotated"]
    if file == "train.json":
        assert fixes["image-size"].startswith("set data.exif_orientation true")
    for one in pictures:
        x1, y1, x2, y2 = one.boxes[0].round().astype(int).tolist()
        assert (one.image[y1:y2, x1:x2].min() == 250) == (one.caption == "image-rotated: upright")
    assert sum(one.caption == "image-rotated: upright" for one in pictures) == 2
    # What the fix says, done.
    report = checked(capsys, data, "data.exif_orientation", "true")[1]
    assert not {"image-rotated", "image-size"} & ids(report)


def test_classes_that_coco_does_not_list_hide_nothing_else(folder, capsys):
    folder.annotations["train"][0]["category_id"] = 99
    missing(folder)
    folder.write()
    status, report = checked(capsys, folder.path)
    assert status == check.FOUND_ERRORS
    assert {"label-unknown", "image-missing"} <= ids(report)
    found = next(finding for finding in report["findings"] if finding["id"] == "label-unknown")
    assert "of classes that are not listed: category 99 (not listed)" in found["message"]
    assert "label-unused" not in ids(report)
    assert len(found["files"]) == 1


def test_what_labels_of_yolo_lack(tmp_path, capsys):
    """An image, and a class; a training is refused for the latter."""
    folder = write_yolo(
        tmp_path, {split: [f"{split}{number}.png" for number in range(2)] for split in ("train", "val")}
    )
    label = folder / "train/labels/train0.txt"
    label.write_text(label.read_text() + "7 .5 .5 .2 .2\n")
    (folder / "val/images/val1.png").unlink()
    status, report = checked(capsys, folder)
    found = {finding["id"]: finding for finding in report["findings"] if finding["severity"] == "error"}
    assert status == check.FOUND_ERRORS
    assert {*found} - {"image-in-two-splits"} == {"label-unknown", "image-missing"}
    assert "class 7 (not listed)" in found["label-unknown"]["message"]
    assert [Path(file["file"]).name for file in found["image-missing"]["files"]] == ["val1.txt"]
    with pytest.raises(UserError, match=r"train0\.txt: line 2: its class is '7'"):
        DataFolder(str(folder)).train()


def test_a_voc_split_without_objects_has_no_class(tmp_path, capsys):
    folder = write_voc(tmp_path, {split: [f"{split}{number}.png" for number in range(2)] for split in ("train", "val")})
    for file in (folder / "Annotations").glob("val*.xml"):
        file.write_text(re.sub(r"<object>.*</object>", "", file.read_text(), flags=re.DOTALL))
    _, report = checked(capsys, folder)
    messages = {finding["id"]: finding["message"] for finding in report["findings"]}
    assert messages["label-unmeasured"].startswith("1 of 1 classes (100 %): boxes in train, and none here: square")
    assert "split-no-boxes" in messages
    assert "label-unused" not in messages
