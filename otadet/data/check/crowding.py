"""How much the boxes of an image overlap each other. Shape letters: `S` images, `M` boxes, `P` pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

THRESHOLDS = (0.1, 0.3, 0.5)
"""IoUs above which pairs are counted."""
NMS_IOUS = (0.5, 0.6, 0.7, 0.8)
"""Thresholds of NMS whose loss is measured."""
_PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Crowding:
    """Pairs of boxes in one image, whatever their classes."""

    boxes: int
    """That were looked at; of those that are the same box of the same class in one image, one."""
    pairs: tuple[int, int, int]
    """Pairs with an IoU above each of `THRESHOLDS`."""
    boxes_in_pairs: tuple[int, int, int]
    """Boxes in at least one such pair."""
    images: tuple[int, int, int]
    """Images with at least one such pair."""
    lost_to_nms: tuple[int, int, int, int]
    """Boxes that have another of their class with an IoU above each of `NMS_IOUS`, one of each pair: as many as NMS can
    remove from perfect detections."""
    pairs_per_image: tuple[float, float, float]
    """Pairs above each of `THRESHOLDS` over the number of images."""

    def shares(self) -> tuple[float, ...]:
        """0-1: boxes in at least one pair above each of `THRESHOLDS`, of all boxes."""
        return tuple(number / max(self.boxes, 1) for number in self.boxes_in_pairs)


def crowding(boxes: np.ndarray, image_rows: np.ndarray, labels: np.ndarray, images: int) -> Crowding:
    """Counts the pairs of boxes that overlap.

    Args:
        boxes: (M, 4) xyxy, finite, of positive size.
        image_rows: (M,) the image of each, 0 to images - 1.
        labels: (M,) its class.
        images: S, those without boxes included.
    """
    kept = ~repeated(boxes, image_rows, labels)
    boxes, image_rows, labels = boxes[kept], image_rows[kept], labels[kept]
    pairs = np.zeros(len(THRESHOLDS), dtype=np.int64)
    in_pair = np.zeros((len(THRESHOLDS), len(boxes)), dtype=bool)
    lost = np.zeros((len(NMS_IOUS), len(boxes)), dtype=bool)
    for first, second, ious in overlapping(boxes, image_rows, THRESHOLDS[0]):
        for row, threshold in enumerate(THRESHOLDS):
            above = ious > threshold
            pairs[row] += above.sum()
            in_pair[row, first[above]] = in_pair[row, second[above]] = True
        same = labels[first] == labels[second]
        for row, threshold in enumerate(NMS_IOUS):
            lost[row, second[same & (ious > threshold)]] = True
    images_with = [len(np.unique(image_rows[mask])) for mask in in_pair]
    one, two, three = pairs.tolist()
    return Crowding(
        boxes=len(boxes),
        pairs=(one, two, three),
        boxes_in_pairs=tuple(in_pair.sum(axis=1).tolist()),
        images=tuple(images_with),  # type: ignore[arg-type]
        lost_to_nms=tuple(lost.sum(axis=1).tolist()),
        pairs_per_image=(one / max(images, 1), two / max(images, 1), three / max(images, 1)),
    )


def repeated(boxes: np.ndarray, image_rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(M,) bool: an earlier row has the same box (M, 4) of the same class in the same image."""
    keys = np.column_stack((image_rows, labels, boxes))
    order = np.lexsort(keys.T[::-1])
    same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    found = np.zeros(len(boxes), dtype=bool)
    # The sort is stable, so that of equal rows the first stands first.
    found[order[1:][same]] = True
    return found


def overlapping(
    boxes: np.ndarray, image_rows: np.ndarray, above: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of boxes in one image with an IoU above `above`, in pieces: (P,) row, (P,) other row, (P,) IoU.

    Each pair comes once. Only boxes that overlap along x are compared, so that a crowd costs little more than its
    pairs; memory does not grow with their number.

    Args:
        boxes: (M, 4) xyxy, finite, of positive size.
        image_rows: (M,).
        above: 0 or more.
    """
    if not len(boxes):
        return
    low = boxes[:, 0].min()
    # Every image has its own stretch of one long axis.
    start = image_rows * (boxes[:, 2].max() - low + 2.0) - low
    order = np.argsort(start + boxes[:, 0], kind="stable")
    left, right = (start + boxes[:, 0])[order], (start + boxes[:, 2])[order]
    partners = np.searchsorted(left, right) - np.arange(len(order)) - 1
    for begin, end in _pieces(partners):
        counts = partners[begin:end]
        first = np.repeat(np.arange(begin, end), counts)
        place = np.arange(len(first)) - np.repeat(counts.cumsum() - counts, counts)
        a, b = order[first], order[first + 1 + place]
        ious = pair_ious(boxes[a], boxes[b])
        kept = ious > above
        yield a[kept], b[kept], ious[kept]


def pair_ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(P, 4), (P, 4) xyxy of positive size -> (P,) IoU."""
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    shared = width.clip(min=0) * height.clip(min=0)
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def _pieces(partners: np.ndarray) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of rows with about `_PAIRS_AT_ONCE` pairs, at least one row each."""
    ends = partners.cumsum()
    begin = 0
    while begin < len(partners):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        yield begin, end
        begin = end
