"""Data sets of any format: annotations made by hand, without a file."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import otadet.data
from otadet.data.annotations import Annotations
from otadet.data.class_list import SourceClasses
from otadet.data.dataset import DetectionDataset
from otadet.data.image_names import ImageNames
from otadet.errors import UserError
from otadet.evaluation.coco import coco_dict


@pytest.fixture
def annotations(tmp_path) -> Annotations:
    """Three images of 40 x 30 pixels and four boxes, not in the order of the images."""
    for name in "abc":
        Image.new("RGB", (40, 30), (name == "b" and "red") or "blue").save(tmp_path / f"{name}.png")
    return Annotations(
        source=tmp_path / "boxes",
        image_dir=tmp_path,
        classes=SourceClasses((3, 8), ("cat", "dog"), np.array([3, 1]), np.zeros(2, bool)),
        image_ids=np.array([70, 50, 60]),
        file_names=ImageNames.of(["a.png", "b.png", "c.png"]),
        image_sizes=np.array([[30, 40], [0, 0], [30, 40]]),
        image_rows=np.array([2, 0, 2, 0]),
        class_rows=np.array([0, 0, 1, 0]),
        boxes=np.array([[0, 0, 10, 10], [5, 5, 50, 20], [1, 2, 3, 4], [0, 0, 40, 30]], float),
        areas=np.array([np.nan, np.nan, 2.5, np.nan]),
        ignored=np.array([False, False, False, True]),
        ignored_hint="say that they are objects",
    )


def test_samples_of_annotations(annotations):
    dataset = DetectionDataset(annotations, class_names=["dog", "cat"])
    first, second, third = (dataset.sample(row) for row in range(3))
    assert (first.image_id, first.boxes.tolist(), first.labels.tolist()) == (70, [[5, 5, 40, 20]], [1])
    assert first.ignored.tolist() == [[0, 0, 40, 30]]
    assert (second.image_id, len(second.boxes), second.original_size) == (50, 0, (30, 40))
    assert (third.boxes.tolist(), third.labels.tolist()) == ([[0, 0, 10, 10], [1, 2, 3, 4]], [1, 0])
    assert dataset.boxes_per_image().tolist() == [1, 0, 2]
    assert dataset.boxes_per_class().tolist() == [1, 2]
    assert dataset.source_ids == (8, 3)
    assert dataset.summary().startswith("boxes: 3 images, 3 boxes, 2 classes; 1 image without boxes; 1 region ignored")


def test_what_is_evaluated_of_annotations(annotations):
    found = coco_dict(DetectionDataset(annotations))["annotations"]
    assert [(a["image_id"], a["category_id"], a["iscrowd"], a["area"]) for a in found] == [
        (70, 3, 0, 45 * 15),
        (70, 3, 1, 40 * 30),
        (60, 3, 0, 100),
        (60, 8, 0, 2.5),
    ]
    assert [a["bbox"] for a in found][:2] == [[5, 5, 45, 15], [0, 0, 40, 30]]


def test_why_there_is_no_box_is_said_in_the_words_of_the_format(annotations, tmp_path):
    only_regions = replace(annotations, ignored=np.ones(4, bool))
    with pytest.raises(UserError, match=r"boxes: .*4 of its annotations are crowd regions \(say that they are objects"):
        DetectionDataset(only_regions).check_trainable()
    names = ("image_rows", "class_rows", "boxes", "areas", "ignored")
    none = {name: getattr(annotations, name)[:0] for name in names}
    empty = DetectionDataset(replace(annotations, **none, why_no_boxes="there is no list of boxes"))
    with pytest.raises(UserError, match="has no box to train on: there is no list of boxes"):
        empty.check_trainable()
    (tmp_path / "a.png").unlink()
    (tmp_path / "c.png").unlink()
    with pytest.raises(UserError, match="the images left have no annotation"):
        DetectionDataset(annotations, unreadable="skip").check_trainable()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("boxes", np.zeros((3, 4))),
        ("image_sizes", np.zeros((2, 2), int)),
        ("image_rows", np.array([0, 1, 2, 3])),
        ("class_rows", np.array([0, -1, 0, 0])),
        ("file_names", ImageNames.of(["a.png"])),
    ],
)
def test_a_reader_that_contradicts_itself_is_named(annotations, name, value):
    with pytest.raises(ValueError, match=f"boxes: {name}"):
        replace(annotations, **{name: value})


def test_data_knows_nothing_of_what_uses_it():
    for path in Path(otadet.data.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        rooms = {module.split(".")[1] for module in modules if module.startswith("otadet.")}
        assert not rooms & {
            "engine",
            "evaluation",
            "inference",
            "exp",
            "apps",
            "export",
            "losses",
            "assigners",
            "models",
        }, path


def test_what_the_reader_dropped_is_shown_and_nothing_gets_lost_with_images(annotations):
    noted = replace(
        annotations, dropped=(("polygons turned into their box", 12), ("lines left out", 1)), protocol="crowdhuman"
    )
    assert DetectionDataset(noted).summary().endswith("; 12 polygons turned into their box; 1 lines left out")
    fewer = noted.of_images(np.array([True, False, True]))
    same = ("source", "image_dir", "classes", "ignored_hint", "dropped", "protocol")
    assert all(getattr(fewer, name) is getattr(noted, name) for name in same)


def test_a_missing_image_folder_is_named(annotations, tmp_path):
    with pytest.raises(UserError, match=r"pictures: no such folder; the images of .*boxes are expected there"):
        DetectionDataset(replace(annotations, image_dir=tmp_path / "pictures"))
