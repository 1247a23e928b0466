"""Where the labels of many boxes go, so that they neither overlap each other nor hide the objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MAX_COVER = 0.35
"""The part of any box that labels, all together, may hide."""


@dataclass(frozen=True)
class Label:
    """A text and its rectangle, in pixels of the canvas."""

    text: str
    x: int
    """Of the left edge."""
    y: int
    """Of the upper edge."""
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """xyxy."""
        return self.x, self.y, self.x + self.width, self.y + self.height


def place_labels(
    boxes: np.ndarray,
    texts: Sequence[Sequence[tuple[str, int]]],
    height: int,
    canvas_size: tuple[int, int],
) -> list[Label | None]:
    """A label for each box that has room for one, None for the others; earlier boxes choose first.

    Args:
        boxes: (D, 4) xyxy in pixels of the canvas.
        texts: for each box its possible texts and their widths in pixels, the preferred one first.
        height: of every label, in pixels.
        canvas_size: (height, width) that the labels stay inside.
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(min=1).prod(axis=1)
    covered = np.zeros(len(boxes))
    placed: list[Label | None] = []
    for box, choices in zip(boxes, texts, strict=True):
        taken = np.array([other.box for other in placed if other is not None]).reshape(-1, 4)
        label = next(
            (
                label
                for label in _candidates(box, choices, height, canvas_size)
                if not _overlap(label.box, taken).any()
                and (covered + _overlap(label.box, boxes) / areas <= MAX_COVER).all()
            ),
            None,
        )
        placed.append(label)
        if label is not None:
            # Labels do not overlap each other, so what they hide of a box adds up.
            covered += _overlap(label.box, boxes) / areas
    return placed


def _candidates(
    box: np.ndarray, choices: Sequence[tuple[str, int]], height: int, canvas_size: tuple[int, int]
) -> Iterator[Label]:
    """Labels inside the canvas that touch `box`: above it, in its top, below it, in its bottom."""
    left, top, right, bottom = np.round(box).astype(int).tolist()
    for text, width in choices:
        for y in (top - height, top, bottom, bottom - height):
            for x in (left, right - width):
                x = min(max(x, 0), canvas_size[1] - width)
                if x >= 0 and 0 <= y <= canvas_size[0] - height:
                    yield Label(text, x, y, width, height)


def _overlap(rectangle: tuple[int, int, int, int], boxes: np.ndarray) -> np.ndarray:
    """(D,) square pixels that the rectangle shares with each of `boxes` (D, 4)."""
    sides = np.minimum(rectangle[2:], boxes[:, 2:]) - np.maximum(rectangle[:2], boxes[:, :2])
    return sides.clip(min=0).prod(axis=1)
