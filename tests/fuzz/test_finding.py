"""Whatever lies in a folder, and whatever somebody's object returns: a data set, or one `UserError` that names it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.coco import find_coco
from otadet.data.formats.detect import FINDERS, find_data
from otadet.data.formats.layout import ALL, SPLITS, Layout
from otadet.data.made_split import SplitRule
from otadet.data.splits import read_split
from otadet.errors import UserError
from otadet.exp import PythonData
from tests.helpers.reader_files import CROWDHUMAN, TEXTS, VOC, YOLO, check_message

COCO = json.dumps(
    {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 20, "width": 30} for n in range(2)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 8, 9]}],
        "categories": [{"id": 3, "name": "ape"}],
    }
)
BOXLESS = COCO.replace('"bbox": [1, 2, 8, 9]', '"segmentation": [[1, 2, 9, 2, 9, 8]]')
FOLDERS = (
    "",
    "images",
    "labels",
    "train",
    "valid",
    "val2017",
    "test",
    "Annotations",
    "JPEGImages",
    "ImageSets/Main",
    "a b",
)
FILES: dict[str, tuple[str | None, ...]] = {
    "0.png": (None,),
    "1.png": (None, ""),
    "train.json": (COCO, BOXLESS),
    "_annotations.coco.json": (COCO,),
    "x.json": (COCO, "{}", "[]", '{"shapes": [], "imagePath": "0.png"}'),
    "data.yaml": (YOLO["data.yaml"], "train: ../train/images\nval: images\nnames: {0: ape}\n", "names: 3"),
    "0.txt": (YOLO["labels/0.txt"], "0 .5 .5 .2 .2 .9", ""),
    "train.txt": ("0\n1\n", "images/0.png\n", "../../x.png"),
    "classes.txt": ("ape\ncow\n", "\n"),
    "0.xml": (VOC["Annotations/0.xml"], "<annotations/>"),
    "annotation_train.odgt": (CROWDHUMAN["annotation_train.odgt"], "{}\n"),
    "obj.data": ("classes = 2\ntrain = train.txt\nnames = classes.txt\n", "=\n"),
}
PICTURE = np.full((20, 30, 3), 90, np.uint8)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes | None]:
    """Path -> content, None for a picture; some of them damaged."""
    depth = draw(st.sampled_from(["", "", "mine", "mine/set"]))
    found: dict[str, bytes | None] = {}
    for _ in range(draw(st.integers(0, 10))):
        folder = "/".join(draw(st.lists(st.sampled_from(FOLDERS), max_size=2)))
        name = draw(st.sampled_from(sorted(FILES)))
        content = draw(st.sampled_from(FILES[name]))
        data = None if content is None else content.encode()
        if data and draw(st.integers(0, 4)) == 0:
            place = draw(st.integers(0, len(data)))
            data = data[:place] + draw(st.sampled_from(TEXTS)).encode("utf-8", "surrogatepass") + data[place + 3 :]
        found[str(Path(depth, folder, name))] = data
    return found


def write(root: Path, tree: dict[str, bytes | None]) -> None:
    for name, data in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            Image.fromarray(PICTURE).save(path)
        else:
            path.write_bytes(data)


def check(root: Path, layout: Layout) -> None:
    """Every split is one, of images of the folder; nothing of the test split is trained on; no box is lost."""
    assert layout.splits
    assert {*layout.splits} <= {*SPLITS} or {*layout.splits} == {ALL}
    files = {}
    for name in ("train", "val", "test"):
        try:
            split = read_split(root, layout, name, SplitRule(0.5))
            dataset = DetectionDataset(split.annotations)
        except UserError as error:
            check_message(str(error), root)
            continue
        counts = dataset.counts
        assert counts.boxes + counts.ignored + counts.degenerate == len(split.annotations.boxes)
        dataset.summary().encode()
        files[name] = {dataset.path(row).resolve() for row in range(len(dataset))}
        assert all(root.resolve() in file.parents for file in files[name])
        # A made split shares nothing with the training.
        if name == "val" and "val" not in layout.splits:
            assert not files[name] & files.get("train", set())


@settings(max_examples=200, deadline=None)
@given(tree=trees(), format=st.sampled_from(["auto", "auto", *FINDERS]))
def test_any_folder(tree: dict[str, bytes | None], format: str) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        write(root, tree)
        try:
            layout = find_data(root, format)
        except UserError as error:
            check_message(str(error), root)
        else:
            check(root, layout)
        coco = find_coco(root)
        if coco is not None:
            check(root, coco)
    finally:
        shutil.rmtree(root)


BOXES = st.sampled_from([[1, 2, 9, 8], [9, 8, 1, 2], [0, 0, 0, 0], [-5, -5, 99, 99], [float("nan")] * 4, [1e308] * 4])
LABELS = st.sampled_from([0, 1, 7, -1, "ape", "", "\x1b[2J", 2**70, None, 1.5, True])
ODD = st.sampled_from([None, 3, "text", b"", [], {}, [[1]], np.zeros((2, 3)), np.zeros((0, 4)), float("inf"), object()])


class Mine:
    """Somebody's object, some of whose items fail."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Any:
        if isinstance(self.rows[row], Exception):
            raise self.rows[row]
        return self.rows[row]


@st.composite
def items(draw: st.DrawFn) -> Any:
    boxes = draw(st.lists(BOXES, max_size=3))
    labels: Any = [draw(LABELS) if draw(st.integers(0, 5)) == 0 else draw(st.integers(0, 1)) for _ in boxes]
    image: Any = PICTURE
    for _ in range(draw(st.sampled_from([0, 0, 1]))):
        what = draw(st.sampled_from(["image", "boxes", "labels"]))
        odd = draw(ODD)
        image, boxes, labels = (
            odd if what == name else value for name, value in (("image", image), ("boxes", boxes), ("labels", labels))
        )
    return draw(
        st.sampled_from(
            [
                (image, boxes, labels),
                {"image": image, "boxes": boxes, "labels": labels},
                (image, {"boxes": boxes, "labels": labels}),
                *([odd] if (odd := draw(ODD)) is None else []),
                ValueError("broken\nitem"),
            ][: draw(st.sampled_from([3, 3, 3, 5]))]
        )
    )


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(items(), max_size=5), names=st.sampled_from([None, ("ape", "cow")]))
def test_any_object(rows: list[Any], names: tuple[str, ...] | None) -> None:
    data = PythonData(Mine(rows), Mine(rows), class_names=names)
    for build in (data.train, data.val):
        try:
            dataset = build()
        except UserError as error:
            said = str(error)
            assert said.startswith("Mine")
            assert len(said) < 3000
            assert said.encode()
            continue
        counts = dataset.counts
        assert counts.boxes + counts.ignored + counts.degenerate == len(dataset.annotations.boxes)
        dataset.summary().encode()
        for row in range(len(dataset)):
            sample = dataset.sample(row)
            assert np.isfinite(sample.boxes).all()
            assert ((sample.labels >= 0) & (sample.labels < len(dataset.class_names))).all()
