"""Samples whose objects are filled with a colour of their own, so that a picture says where its boxes are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from otadet.data.sample import Sample

PAD = (0, 0, 0)
COLORS = np.array([[r, g, b] for r in (255, 0) for g in (255, 0) for b in (255, 0)][:7], np.uint8)
"""(7, 3): corners of a cube, so that no blend of two of them, or with the padding, looks like a third."""


def painted(
    boxes: Sequence[Sequence[int]], height: int = 60, width: int = 80, first: int = 0, ignored: Sequence = ()
) -> Sample:
    """boxes: xyxy in whole pixels, later ones on top. first: label of the first one; labels have `COLORS` in turn."""
    image = np.zeros((height, width, 3), np.uint8)
    for label, (x1, y1, x2, y2) in enumerate(boxes, start=first):
        image[y1:y2, x1:x2] = COLORS[label % len(COLORS)]
    return Sample(
        image=image,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.arange(first, first + len(boxes)),
        image_id=first,
        file_name=f"{first}.png",
        original_size=(height, width),
        ignored=np.array(ignored, np.float32).reshape(-1, 4),
    )


def extent(image: np.ndarray, label: int) -> tuple[int, int, int, int] | None:
    """xyxy around the pixels that have more of the label's colour than of others; None where there are none."""
    found = ((image > 127) == (COLORS[label] > 127)).all(axis=2)
    if not found.any():
        return None
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def disjoint(seed: int, height: int, width: int, count: int = 3) -> list[list[int]]:
    """Up to `count` boxes of 4 pixels or more per side that do not overlap."""
    rng = np.random.default_rng(seed)
    columns = np.linspace(0, width, count + 1).astype(int)
    boxes = []
    for left, right in pairwise(columns):
        if right - left < 6 or height < 6:
            continue
        x1, y1 = rng.integers(left, right - 5), rng.integers(0, height - 5)
        boxes.append([int(x1), int(y1), int(rng.integers(x1 + 4, right)), int(rng.integers(y1 + 4, height))])
    return boxes
