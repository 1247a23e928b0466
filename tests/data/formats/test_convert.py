import json
import os

import numpy as np
import pytest

from otadet.data.dataset import DetectionDataset
from otadet.data.formats import convert as module
from otadet.data.formats.coco import find_coco
from otadet.data.formats.convert import WRITERS, convert
from otadet.data.formats.voc import find_voc
from otadet.data.formats.yolo import find_yolo
from otadet.errors import OutputError, UserError

FIND = {"coco": find_coco, "yolo": find_yolo, "voc": find_voc}
SIZES = [(641, 333), (1280, 720), (97, 101)]


@pytest.fixture
def source(write_files, tmp_path):
    """Two splits in COCO, boxes anywhere in three images each, a crowd, an unused class in between."""
    rng = np.random.default_rng(0)
    files = {}
    for split in ("train", "val"):
        images, annotations = [], []
        for number, (width, height) in enumerate(SIZES):
            # The same names in both splits.
            images.append({"id": 7 + number, "file_name": f"{number}.jpg", "width": width, "height": height})
            files[f"images/{split}/{number}.jpg"] = (width, height)
            for _ in range(20 * (number != 1)):
                low, high = np.sort(rng.uniform(-3, 1, (2, 2)) % 1 * (width, height), axis=0)
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": 7 + number,
                        "category_id": [3, 9][len(annotations) % 2],
                        "bbox": [*low.tolist(), *(high - low).tolist()],
                        "iscrowd": int(len(annotations) == 5),
                    }
                )
        categories = [{"id": 9, "name": "ape & <co>"}, {"id": 5, "name": "unused"}, {"id": 3, "name": "zébra: no"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        files[f"annotations/instances_{split}.json"] = json.dumps(content)
    return write_files(files, tmp_path / "source")


def boxes_by_name(dataset):
    """Class name and box of every object, per image, in the order of the file."""
    data, found = dataset.annotations, {}
    for row, name in enumerate(data.file_names):
        for ignored in (False, True):
            rows = (data.image_rows == row) & (data.ignored == ignored)
            names = [dataset.class_names[label] for label in dataset.labels[rows]]
            found[name, ignored] = list(zip(names, data.boxes[rows].tolist(), strict=True))
    return found


def check_equal(found, expected, regions=True):
    """The same boxes in the same order, to a hundredth of a pixel."""
    for (first, ignored), (second, _) in zip(sorted(found), sorted(expected), strict=True):
        one, other = found[first, ignored], expected[second, ignored]
        if ignored and not regions:
            continue
        assert [name for name, _ in one] == [name for name, _ in other]
        np.testing.assert_allclose([box for _, box in one], [box for _, box in other], rtol=0, atol=0.01)


def test_boxes_survive_a_journey_through_all_formats(source, tmp_path):
    layout = find_coco(source)
    before = {split: DetectionDataset(part.read()) for split, part in layout.splits.items()}
    seen_yolo = False
    for step, to in enumerate(("voc", "coco", "yolo", "voc", "coco")):
        folder = tmp_path / f"{step}"
        convert(layout, folder, to)
        layout = FIND[to](folder)
        after = {split: DetectionDataset(part.read()) for split, part in layout.splits.items()}
        assert list(after) == ["train", "val"]
        seen_yolo = seen_yolo or to == "yolo"
        for split in before:
            check_equal(boxes_by_name(after[split]), boxes_by_name(before[split]), regions=not seen_yolo)
            assert after[split].counts.ignored == (0 if seen_yolo else 1)
            assert after[split].sizes.tolist() == before[split].sizes.tolist()
            assert after[split].annotations.dropped == ()


@pytest.mark.parametrize("to", WRITERS)
def test_classes_and_what_is_lost(source, tmp_path, to):
    done = convert(find_coco(source), tmp_path / "new", to)
    layout = FIND[to](tmp_path / "new")
    classes = layout.splits["train"].read().classes
    names = ("zébra: no", "unused", "ape & <co>")
    assert classes.names == (("ape & <co>", "zébra: no") if to == "voc" else names)
    assert classes.ids == {"coco": (3, 5, 9), "yolo": (0, 1, 2), "voc": (0, 1)}[to]
    assert sum(done.lost.values()) == {"coco": 0, "yolo": 2, "voc": 1 + 3}[to]
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_the_whole_without_splits_stays_one(write_files, tmp_path):
    source = write_files({"a.jpg": (50, 40), "a.txt": "1 .5 .5 .2 .2", "classes.txt": "ape\ncow"}, tmp_path / "s")
    for to, find in FIND.items():
        convert(find_yolo(source), tmp_path / to, to)
        layout = find(tmp_path / to)
        assert list(layout.splits) == ["all"]
        data = layout.splits["all"].read()
        np.testing.assert_allclose(data.boxes, [[20, 16, 30, 24]], atol=1e-3)
        assert data.classes.names[data.class_rows[0]] == "cow"


def test_boxes_out_of_their_image(write_files, tmp_path):
    boxes = [[-10, -10, 30, 30], [40, 30, 5000, 5000], [500, 500, 5, 5], [5, 5, 0, 9], [1, 2, 3, 4]]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)],
        "categories": [{"id": 1, "name": "ape"}],
    }
    source = write_files({"instances.json": json.dumps(content), "a.jpg": (50, 40)}, tmp_path / "s")
    expected = {
        "coco": [[-10, -10, 20, 20], [40, 30, 5040, 5030], [1, 2, 4, 6]],
        "yolo": [[-10, -10, 20, 20], [40, 30, 50, 40], [1, 2, 4, 6]],
    }
    for to in WRITERS:
        done = convert(find_coco(source), tmp_path / to, to)
        found = FIND[to](tmp_path / to).splits["all"].read().boxes
        np.testing.assert_allclose(found, expected.get(to, expected["coco"]), atol=0.01)
        assert done.lost["boxes of no size or outside their image left out"] == 2
        assert sum(done.lost.values()) == (3 if to == "yolo" else 2)


@pytest.mark.parametrize("to", WRITERS)
def test_names_become_different_ones_without_folders(write_files, tmp_path, to):
    names = ["x/a.jpg", "y/a.jpg", "A.png", "x/.hid den.jpg", "bare", "x_a.png", "images/é.jpg", "1 1.jpg", "1.jpg"]
    content = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [n, 1, 5, 5]} for n in range(len(names))],
        "categories": [{"id": 1, "name": "ape"}],
    }
    files = {name: (50, 40) for name in names if name != "bare"}
    source = write_files({**files, "train.json": json.dumps(content)}, tmp_path / "s")
    (source / "A.png").rename(source / "bare")
    write_files({"A.png": (50, 40)}, source)
    done = convert(find_coco(source), tmp_path / to, to)
    data = FIND[to](tmp_path / to).splits["train"].read()
    assert len(DetectionDataset(data)) == len(names)
    assert dict(done.renamed) == {
        **{"y/a.jpg": "y_a.jpg", "A.png": "A_2.png", "x/.hid den.jpg": "hid_den.jpg", "bare": "bare.png"},
        "1 1.jpg": "1_1.jpg",
    }
    assert sorted(np.round(data.boxes[:, 0]).astype(int).tolist()) == list(range(len(names)))
    assert {os.path.basename(name) for name in data.file_names} >= {"a.jpg", "y_a.jpg", "bare.png", "é.jpg", "1.jpg"}


def test_links_and_copies(source, tmp_path, monkeypatch):
    assert convert(find_coco(source), tmp_path / "linked", "yolo", link=True).copied == 0
    original = source / "images" / "train" / "0.jpg"
    assert os.path.samefile(original, tmp_path / "linked" / "images" / "train" / "0.jpg")
    convert(find_coco(source), tmp_path / "copied", "yolo")
    copy = tmp_path / "copied" / "images" / "train" / "0.jpg"
    assert not os.path.samefile(original, copy)
    assert copy.read_bytes() == original.read_bytes()

    def refuse(*_):
        raise OSError(18, "another file system")

    monkeypatch.setattr(module.os, "link", refuse)
    assert convert(find_coco(source), tmp_path / "elsewhere", "yolo", link=True).copied == 6


def test_nothing_is_left_of_what_failed(source, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(OutputError, match="full: is not empty"):
        convert(find_coco(source), tmp_path / "full", "yolo")
    (source / "images" / "val" / "2.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="1 of its 3 images cannot be read"):
        convert(find_coco(source), tmp_path / "new", "yolo")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "source"]
    (tmp_path / "new").mkdir()
    convert(find_coco(source), tmp_path / "new", "yolo", unreadable="skip")
    assert len(find_yolo(tmp_path / "new").splits["val"].read().image_ids) == 2
