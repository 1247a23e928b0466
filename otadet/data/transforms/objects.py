"""What moves along with the pixels: boxes, their labels, and ignored regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from otadet.data.sample import Sample

MIN_SIDE = 0.01
"""Pixels. A box with a shorter side is degenerate: no anchor point can lie inside it."""

Hidden = Literal["drop", "ignore"]
"""What becomes of the rest of an object of which too little is visible: background, or a region to ignore."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The boxes and regions of a picture, or of a part of one."""

    boxes: np.ndarray
    """(G, 4) float32 xyxy, in pixels."""
    labels: np.ndarray
    """(G,) int64."""
    ignored: np.ndarray
    """(I, 4) float32 xyxy, in pixels."""

    @classmethod
    def of(cls, sample: Sample) -> Objects:
        return cls(sample.boxes, sample.labels, sample.ignored)

    @classmethod
    def joined(cls, parts: Sequence[Objects]) -> Objects:
        """Those of all parts, of which there is one at least."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes", "labels", "ignored"))
        )

    def scaled(self, x: float, y: float) -> Objects:
        factor = np.array((x, y, x, y), np.float32)
        return Objects(self.boxes * factor, self.labels, self.ignored * factor if len(self.ignored) else self.ignored)

    def shifted(self, x: float, y: float) -> Objects:
        offset = np.array((x, y, x, y), np.float32)
        return Objects(self.boxes + offset, self.labels, self.ignored + offset)

    def within(self, window: tuple[int, int, int, int], min_visible: float = 0.0, hidden: Hidden = "drop") -> Objects:
        """What is left in the rectangle `window` (xyxy): clipped, degenerate ones dropped.

        min_visible: a box of which a smaller share of the area (0-1) is left goes. hidden: "ignore" makes what is left
        of it a region to ignore. What is left of a region stays.
        """
        boxes, ignored = clip_boxes(self.boxes, window), clip_boxes(self.ignored, window)
        enough = None
        if min_visible:
            enough = sides(boxes).prod(axis=1) >= min_visible * sides(self.boxes).prod(axis=1)
        return kept(boxes, self.labels, ignored, enough, hidden)

    def put(self, sample: Sample, image: np.ndarray, **changes: Any) -> Sample:
        """`sample` with this image and these objects."""
        return replace(sample, image=image, boxes=self.boxes, labels=self.labels, ignored=self.ignored, **changes)


def kept(
    boxes: np.ndarray, labels: np.ndarray, ignored: np.ndarray, enough: np.ndarray | None, hidden: Hidden
) -> Objects:
    """Objects without what is degenerate, and without the boxes of which there is not `enough` (G,) bool."""
    if hidden == "ignore" and enough is not None:
        ignored = np.concatenate((ignored, boxes[~enough]))
    if _has_degenerate(ignored):
        ignored = ignored[~is_degenerate(ignored)]
    keep = ~is_degenerate(boxes) if _has_degenerate(boxes) else None
    if enough is not None:
        keep = enough if keep is None else keep & enough
    return Objects(boxes, labels, ignored) if keep is None else Objects(boxes[keep], labels[keep], ignored)


def clip_boxes(boxes: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """(G, 4) xyxy -> (G, 4), limited to the rectangle `window`, xyxy in pixels."""
    if not len(boxes):
        return boxes
    x1, y1, x2, y2 = window
    low = np.array((x1, y1, x1, y1), boxes.dtype) if x1 or y1 else 0
    return np.minimum(np.maximum(boxes, low), np.array((x2, y2, x2, y2), boxes.dtype))


def sides(boxes: np.ndarray) -> np.ndarray:
    """(G, 4) xyxy -> (G, 2) width and height."""
    return boxes[:, 2:] - boxes[:, :2]


def is_degenerate(boxes: np.ndarray) -> np.ndarray:
    """(G, 4) xyxy -> (G,) bool: a side is shorter than `MIN_SIDE`."""
    return sides(boxes).min(axis=1) < MIN_SIDE


def _has_degenerate(boxes: np.ndarray) -> bool:
    # Most pictures have none, and one number for all of them is found in a third of the time.
    return bool(len(boxes)) and not sides(boxes).min() >= MIN_SIDE
