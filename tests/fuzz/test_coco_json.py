"""Whatever is in an annotation file: a data set that can be used, or one `UserError` that names the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from otadet.data.formats.coco import read_coco
from otadet.errors import UserError
from otadet.evaluation.coco import coco_dict
from otadet.names import clean_name
from tests.helpers.coco import coco_dataset
from tests.helpers.lenient_reading import check_lenient

GOOD = {
    "images": [{"id": n, "file_name": f"{n}.png", "height": 20, "width": 30} for n in range(3)],
    "annotations": [
        {"id": n, "image_id": n % 3, "category_id": 1 + n % 2, "bbox": [1, 2, 8, 9], "area": 72, "iscrowd": 0}
        for n in range(5)
    ],
    "categories": [{"id": 1, "name": "ape", "supercategory": "animal"}, {"id": 2, "name": "cow"}],
}
KEYS = ("id", "file_name", "name", "image_id", "category_id", "bbox", "images", "supercategory", "width", "iscrowd")
NUMBERS = (0, -1, 1, 2, 2**31, 2**63, -(2**63), 10**400, 1e300, -1e308, 0.5, float("nan"), float("inf"))
TEXTS = (
    "",
    "0.png",
    "../0.png",
    "/etc/passwd",
    "a\0b",
    "\ud800",
    "\udce9.png",
    "x" * 5000,
    "\x1b[2J",
    "C:\\x",
    "ape",
    ".",
)
LISTS = ([1, 2, 3], [0] * 4, [float("nan")] * 4, [1e308] * 4, [-1e300, 0, 2e300, 5], [10**400] * 4, ["1"] * 4)
odd_values = st.sampled_from((*NUMBERS, *TEXTS, *LISTS, None, True)) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = tmp_path_factory.mktemp("fuzz") / "images"
    images.mkdir()
    for number in range(3):
        Image.fromarray(np.full((20, 30, 3), 60 * number, np.uint8)).save(images / f"{number}.png")
    return images.parent


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in `value` with each of its keys or indices."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from places(item)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A good file with up to three values replaced, removed or doubled."""
    content: Any = deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(list(places(content)) or [([None], 0)]))
        action = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if action == "replace":
            container[key] = deepcopy(draw(odd_values))
        elif action == "remove":
            del container[key]
        elif isinstance(container, list):
            container.append(deepcopy(container[key]))
    return content


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a good file, cut, overwritten, in another encoding, or with something in front."""
    text = json.dumps(GOOD)
    way = draw(st.sampled_from(["cut", "overwrite", "encode", "prefix", "nest", "twice"]))
    place = draw(st.integers(0, len(text)))
    if way == "cut":
        return text[:place].encode()
    if way == "overwrite":
        return text[:place].encode() + draw(st.binary(min_size=1, max_size=4)) + text[place + 2 :].encode()
    if way == "encode":
        encoding = draw(st.sampled_from(["latin-1", "utf-16", "utf-32", "utf-8-sig"]))
        return text.replace("ape", "\u00e9").encode(encoding)
    if way == "prefix":
        return draw(st.binary(max_size=3)) + text.encode()
    if way == "nest":
        depth = draw(st.sampled_from([10, 900, 5000, 100_000]))
        return text.replace('"ape"', "[" * depth + "]" * depth, 1).encode()
    return text.replace('"id"', '"name": "x", "id": 1, "id"', 1).encode()


def check(folder: Path, data: bytes) -> None:
    path = folder / "fuzz.json"
    path.write_bytes(data)
    try:
        tables = read_coco(path)
    except UserError as error:
        check_message(str(error))
        check_lenient(lambda: read_coco(path, lenient=True), None)
        return
    check_lenient(lambda: read_coco(path, lenient=True), tables)
    try:
        dataset = coco_dataset(path, folder / "images")
    except UserError as error:
        check_message(str(error))
        return
    assert (tables.image_rows < len(tables.image_ids)).all()
    assert (tables.class_rows < len(tables.classes.ids)).all()
    assert [clean_name(name) for name in dataset.class_names] == list(dataset.class_names)
    assert len(dataset.source_ids) == len(dataset.class_names) == len(set(dataset.source_ids))
    json.dumps(coco_dict(dataset), allow_nan=False)
    dataset.summary().encode()
    for row in range(len(dataset)):
        sample = dataset.sample(row)
        assert np.isfinite(sample.boxes).all()
        assert ((sample.labels >= 0) & (sample.labels < len(dataset.class_names))).all()


def check_message(said: str) -> None:
    """Short, about the file, and fit for any terminal."""
    assert "fuzz.json" in said
    assert len(said) < 3000
    assert not any(ord(character) < 32 and character != "\n" for character in said)
    said.encode()


@settings(max_examples=250)
@given(content=mutated())
def test_changed_values(folder: Path, content: Any) -> None:
    check(folder, json.dumps(content).encode())


@settings(max_examples=120)
@given(data=damaged())
def test_damaged_bytes(folder: Path, data: bytes) -> None:
    check(folder, data)
