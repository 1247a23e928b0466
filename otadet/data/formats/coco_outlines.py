"""The boxes of COCO annotations that have a segmentation alone: polygons, or masks as run lengths.

The run lengths are decoded here, as files are untrusted: https://github.com/cocodataset/cocoapi, common/maskApi.c, has
their definition, and does not check them.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

_LONGEST = 2**31


def outline_box(segmentation: Any) -> list[float] | None:
    """`[x, y, width, height]` around a segmentation; None for what is none.

    segmentation: a list of polygons `[x1, y1, x2, y2, x3, y3, ...]`, one of these, or `{"counts": ..., "size": [height,
    width]}`, whose counts are a list or COCO's text.
    """
    try:
        if isinstance(segmentation, dict):
            return _mask_box(segmentation.get("counts"), segmentation.get("size"))
        return _polygon_box(segmentation)
    except (ValueError, OverflowError):
        return None


def _polygon_box(segmentation: Any) -> list[float] | None:
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    if not all(isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons):
        return None
    points = list(chain.from_iterable(polygons))
    if not set(map(type, points)) <= {int, float}:
        return None
    corners = np.array(points, dtype=np.float64).reshape(-1, 2)
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = corners.min(0), corners.max(0)
        return [*low.tolist(), *(high - low).tolist()]


def _mask_box(counts: Any, size: Any) -> list[float] | None:
    """counts: lengths of runs of zeros and ones by turns, down the columns one after the other."""
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        return None
    height, width = size
    if height * width > _LONGEST:
        return None
    if isinstance(counts, str):
        counts = _counts(counts)
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count <= _LONGEST for count in counts):
        return None
    ends = np.cumsum(np.array(counts, dtype=np.int64))
    if not len(ends) or ends[-1] != height * width:
        return None
    begins, ends = ends[:-1:2], ends[1::2]
    begins, ends = begins[ends > begins], ends[ends > begins] - 1
    if not len(begins):
        return [0.0] * 4
    left, right = int(begins[0] // height), int(ends[-1] // height)
    top, bottom = int((begins % height).min()), int((ends % height).max())
    if (begins // height != ends // height).any():
        top, bottom = 0, height - 1
    return [float(number) for number in (left, top, right - left + 1, bottom - top + 1)]


def _counts(text: str) -> list[int]:
    """The numbers of COCO's text: groups of five bits, the lowest first, most as differences to the one before last."""
    counts: list[int] = []
    number = shift = 0
    for code in text.encode("ascii"):
        bits = code - 48
        if not 0 <= bits < 64 or shift > 35:
            raise ValueError("no run lengths")
        number |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("no run lengths")
    return counts
