"""Whatever is in the files of YOLO, Pascal VOC and CrowdHuman: a data set that can be used, or one `UserError` that
names the file; and nothing is lost without being counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from otadet.data.annotations import Annotations
from otadet.data.dataset import DetectionDataset
from otadet.data.formats.crowdhuman import find_crowdhuman
from otadet.data.formats.layout import Layout
from otadet.data.formats.voc import find_voc
from otadet.data.formats.yolo import find_yolo
from otadet.errors import UserError
from otadet.evaluation.coco import coco_dict
from tests.helpers.lenient_reading import check_lenient
from tests.helpers.reader_files import CROWDHUMAN, NUMBERS, TEXTS, VOC, YOLO, check_message

FORMATS: dict[str, tuple[dict[str, str], str, Callable[..., Layout | None]]] = {
    "yolo": (YOLO, "images", find_yolo),
    "voc": (VOC, "JPEGImages", find_voc),
    "crowdhuman": (CROWDHUMAN, "Images", find_crowdhuman),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    for name, (_, images, _) in FORMATS.items():
        (root / name / images).mkdir(parents=True)
        for number in range(2):
            path = root / name / images / f"{number}.png"
            Image.fromarray(np.full((20, 30, 3), 60 * number, np.uint8)).save(path)
    return root


@st.composite
def damaged(draw: st.DrawFn, files: dict[str, str]) -> dict[str, bytes | None]:
    """Good files, one or two of them cut, changed inside, in another encoding, or gone."""
    found: dict[str, bytes | None] = {name: text.encode() for name, text in files.items()}
    for name in draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2)):
        data = found[name]
        if data is None:
            continue
        way = draw(
            st.sampled_from(["cut", "insert", "insert", "number", "number", "drop", "encode", "bytes", "gone", "lines"])
        )
        start = draw(st.integers(0, len(data)))
        if way == "cut":
            data = data[:start]
        elif way == "insert":
            text = draw(st.sampled_from(TEXTS) | st.text(max_size=4)).encode("utf-8", "surrogatepass")
            data = data[:start] + text + data[start + draw(st.integers(0, 3)) :]
        elif way == "number":
            data = changed_number(draw, data)
        elif way == "drop":
            data = data[:start] + data[start + draw(st.integers(1, 40)) :]
        elif way == "encode":
            text = data.decode("utf-8", "replace")
            encoding = draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"]))
            data = text.replace("ape", "\u00e9").encode(encoding, "replace")
        elif way == "bytes":
            data = data[:start] + draw(st.binary(min_size=1, max_size=4)) + data[start:]
        elif way == "lines":
            data = data.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r", b"\n\n", b"", b" "])))
        else:
            data = None
        found[name] = data
    return found


def changed_number(draw: st.DrawFn, data: bytes) -> bytes:
    """With one of its numbers replaced by another text."""
    places = [place for place in range(len(data)) if data[place : place + 1].isdigit()]
    if not places:
        return data
    start = end = draw(st.sampled_from(places))
    while end < len(data) and data[end : end + 1] in b"0123456789.":
        end += 1
    return data[:start] + draw(st.sampled_from(NUMBERS)).encode() + data[end:]


def check(folder: Path, images: str, files: dict[str, bytes | None], find: Callable[..., Layout | None]) -> None:
    for inner in folder.iterdir():
        if inner.name != images:
            shutil.rmtree(inner) if inner.is_dir() else inner.unlink()
    for name, data in files.items():
        if data is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    try:
        layout = find(folder)
    except UserError as error:
        check_message(str(error), folder)
        return
    if layout is None:
        return
    assert layout.splits
    for source in layout.splits.values():
        lenient = replace(source, lenient=True)
        try:
            annotations = source.read()
        except UserError as error:
            check_message(str(error), folder)
            check_lenient(lenient.read, None)
            continue
        check_lenient(lenient.read, annotations)
        try:
            dataset = DetectionDataset(annotations)
        except UserError as error:
            check_message(str(error), folder)
            continue
        check_dataset(annotations, dataset)
        if "labels/0.txt" in files and len(annotations.image_ids) == 2:
            # No line of a label is passed over.
            assert len(annotations.boxes) == sum(label_lines(files.get(f"labels/{number}.txt")) for number in range(2))


def label_lines(data: bytes | None) -> int:
    """Lines of a file that are not empty."""
    data = data or b""
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:4] == b"\0\0\xfe\xff"
    text = data.decode(json.detect_encoding(data) if marked else "utf-8-sig", "replace").replace("\r", "\n")
    return sum(bool(line.strip()) for line in text.split("\n"))


def check_dataset(annotations: Annotations, dataset: DetectionDataset) -> None:
    assert all(number > 0 and what for what, number in annotations.dropped)
    assert len(set(annotations.file_names)) == len(annotations.file_names)
    counts = dataset.counts
    assert counts.boxes + counts.ignored + counts.degenerate == len(annotations.boxes)
    assert annotations.classes.boxes.sum() == len(annotations.boxes)
    json.dumps(coco_dict(dataset), allow_nan=False)
    dataset.summary().encode()
    for row in range(len(dataset)):
        sample = dataset.sample(row)
        assert np.isfinite(sample.boxes).all()
        assert ((sample.labels >= 0) & (sample.labels < len(dataset.class_names))).all()


@pytest.mark.parametrize("name", FORMATS)
def test_the_files_as_they_are(folders: Path, name: str) -> None:
    files, images, find = FORMATS[name]
    check(folders / name, images, {name: text.encode() for name, text in files.items()}, find)
    layout = find(folders / name)
    assert layout is not None
    assert [len(source.read().boxes) for source in layout.splits.values()] == {
        "yolo": [3, 3],
        "voc": [2],
        "crowdhuman": [4],
    }[name]


@settings(max_examples=250)
@given(data=st.data())
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(folders: Path, name: str, data: st.DataObject) -> None:
    files, images, find = FORMATS[name]
    check(folders / name, images, data.draw(damaged(files)), find)


@pytest.mark.parametrize("classes", [3000, 20_000])
def test_thousands_of_classes(folders: Path, classes: int) -> None:
    names = "".join(f"  {number}: kind {number}\n" for number in range(classes))
    label = f"{classes - 1} .5 .5 .2 .2\n{classes} .5 .5 .2 .2\n"
    for lines, boxes in ((1, 1), (2, None)):
        files = {
            "data.yaml": f"train: images\nnames:\n{names}".encode(),
            "labels/0.txt": "".join(label.splitlines(True)[:lines]).encode(),
        }
        check(folders / "yolo", "images", files, find_yolo)
        layout = find_yolo(folders / "yolo")
        assert layout is not None
        if boxes is None:
            with pytest.raises(UserError, match=rf"0\.txt: line 2: its class is '{classes}', but .*{classes} classes"):
                layout.splits["train"].read()
        else:
            assert len(layout.splits["train"].read().classes.names) == classes
