"""Boxes of segmentations: by hand, as pycocotools has them, and of whatever a file may hold."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as judge

from otadet.data.formats.coco import read_coco
from otadet.data.formats.coco_outlines import outline_box
from otadet.errors import UserError
from tests.helpers.coco import ANNOTATION, content


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[1, 2, 5, 2, 5.5, 8]], [1, 2, 4.5, 6]),
        ([[1, 2, 5, 2, 5, 8], [7, 0, 9, 0, 9, 3]], [1, 0, 8, 8]),
        ([1, 2, 5, 2, 5, 8], [1, 2, 4, 6]),
        ({"size": [4, 3], "counts": [5, 2, 5]}, [1, 1, 1, 2]),
        ({"size": [4, 3], "counts": [3, 2, 7]}, [0, 0, 2, 4]),
        ({"size": [4, 3], "counts": [0, 12]}, [0, 0, 3, 4]),
        ({"size": [4, 3], "counts": [12]}, [0, 0, 0, 0]),
        ({"size": [4, 3], "counts": [5, 2, 4]}, None),
        ({"size": [0, 3], "counts": []}, None),
        ({"size": [4, 3], "counts": "~~"}, None),
        ({"counts": "abc"}, None),
        ([], None),
        ([[1, 2, 3, 4]], None),
        ([[1, 2, "3", 4, 5, 6]], None),
        ([[10**400, 0, 1.5, 1, 1, 1]], None),
        ("text", None),
    ],
)
def test_by_hand(segmentation, box):
    assert outline_box(segmentation) == box


@settings(max_examples=150, deadline=None)
@given(mask=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_masks_as_pycocotools_has_them(mask):
    packed = judge.encode(np.asfortranarray(mask))
    text = {"size": packed["size"], "counts": packed["counts"].decode()}
    runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=255)), append=mask.size).tolist()
    unpacked = {"size": packed["size"], "counts": runs if not mask[0, 0] else [0, *runs]}
    expected = judge.toBbox(packed).tolist() if mask.any() else [0.0] * 4
    assert outline_box(text) == outline_box(unpacked) == expected


@settings(max_examples=200, deadline=None)
@given(counts=st.text(max_size=12) | st.lists(st.integers() | st.none(), max_size=5), size=st.lists(st.integers(-1, 9)))
def test_whatever_is_said_of_a_mask(counts, size):
    box = outline_box({"counts": counts, "size": size})
    assert box is None or (len(box) == 4 and box[0] + box[2] <= size[1] and box[1] + box[3] <= size[0])


def test_an_annotation_without_a_box_has_that_of_its_outline(tmp_path):
    whole = {"segmentation": [[1, 2, 5, 2, 5, 8]]}
    rows = [
        {"id": 1, "image_id": 1, "category_id": 1, **whole},
        {**ANNOTATION, "id": 2, "bbox": [], **whole},
        {**ANNOTATION, "id": 3, **whole},
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content(annotations=rows)))
    annotations = read_coco(path)
    assert annotations.boxes.tolist() == [[1, 2, 5, 8], [1, 2, 5, 8], [0, 0, 5, 5]]
    assert annotations.dropped == (("outlines turned into their box", 2),)
    rows[0]["segmentation"] = {"counts": "~"}
    path.write_text(json.dumps(content(annotations=rows)))
    with pytest.raises(UserError, match=r"annotations\[0\]: has no 'bbox', and its segmentation is neither"):
        read_coco(path)
