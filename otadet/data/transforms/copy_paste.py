"""Objects of one picture pasted into another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from otadet.data.pixels import resize
from otadet.data.sample import Sample
from otadet.data.transforms.another import WithAnother
from otadet.data.transforms.geometry import SHARE
from otadet.data.transforms.objects import Hidden, Objects, kept
from otadet.data.transforms.ranges import Range
from otadet.limits import Limits


@dataclass(frozen=True)
class CopyPaste(WithAnother):
    """Boxes of another sample, with what is in them, pasted at random places.

    The other is scaled as if it were to fit into the sample's size, then by a factor drawn from `scale` for each box,
    a smaller one where the box would not fit. Whatever else of the other's objects and ignored regions is seen in a
    pasted box comes along. What is below is hidden: boxes shrink to what is still seen of them.
    """

    most: Annotated[int, Limits(1, 1000)] = 5
    """Boxes that are pasted: from one to so many, as far as the other has them."""
    scale: Range = (0.5, 1.5)
    """(low, high) of the factors."""
    p: Annotated[float, SHARE] = 1.0
    """Probability; the other is not read where it does not happen."""
    min_visible: Annotated[float, SHARE] = 0.3
    """A box goes where less than this share (0-1) of its area is seen."""
    hidden: Hidden = "drop"
    """What becomes of its rest there: "drop" leaves it to the background, "ignore" makes it an ignored region."""

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample]) -> Sample:
        if rng.random() >= self.p or not len(others[0].boxes):
            return sample
        (other,) = others
        image = sample.image.copy()
        on_top = np.zeros(image.shape[:2], np.int32)
        layers = [Objects.of(sample)]
        count = int(rng.integers(1, self.most, endpoint=True))
        for layer, row in enumerate(rng.permutation(len(other.boxes))[:count].tolist(), start=1):
            patch, objects = self._patch(other, other.boxes[row], image.shape[:2], rng)
            height, width = patch.shape[:2]
            top, left = (
                int(rng.integers(0, room, endpoint=True)) for room in (image.shape[0] - height, image.shape[1] - width)
            )
            image[top : top + height, left : left + width] = patch
            on_top[top : top + height, left : left + width] = layer
            layers.append(objects.shifted(left, top))
        seen = [
            _still_seen(objects, on_top, layer, self.min_visible, self.hidden) for layer, objects in enumerate(layers)
        ]
        return Objects.joined(seen).put(sample, image)

    def _patch(
        self, other: Sample, box: np.ndarray, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[np.ndarray, Objects]:
        """The pixels of one box, scaled for an image of `size` (height, width), and the objects in it."""
        left, top = np.floor(box[:2]).astype(int).tolist()
        right, bottom = np.ceil(box[2:]).astype(int).tolist()
        patch = other.image[top:bottom, left:right]
        height, width = patch.shape[:2]
        factor = rng.uniform(*self.scale) * min(size[0] / other.image.shape[0], size[1] / other.image.shape[1])
        factor = min(factor, size[0] / height, size[1] / width)
        patch = resize(patch, max(1, round(height * factor)), max(1, round(width * factor)), "halves")
        objects = Objects.of(other).shifted(-left, -top).scaled(patch.shape[1] / width, patch.shape[0] / height)
        return patch, objects.within((0, 0, patch.shape[1], patch.shape[0]), self.min_visible, self.hidden)


def _still_seen(objects: Objects, on_top: np.ndarray, layer: int, min_visible: float, hidden: Hidden) -> Objects:
    """The objects of a layer less what later ones hide; on_top: (H, W) the layer that is seen at each pixel."""
    boxes, shares = _uncovered(objects.boxes, on_top, layer)
    ignored, seen = _uncovered(objects.ignored, on_top, layer)
    enough = (shares >= min_visible) & (shares > 0)
    return kept(boxes, objects.labels, ignored[seen > 0], enough, hidden)


def _uncovered(boxes: np.ndarray, on_top: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """(G, 4) boxes around what is seen of each, and (G,) the share (0-1) of its pixels that is."""
    boxes, shares = boxes.copy(), np.ones(len(boxes))
    for row, (x1, y1, x2, y2) in enumerate(zip(*_outwards(boxes), strict=True)):
        covered = on_top[y1:y2, x1:x2] > layer
        if not covered.any():
            continue
        seen = ~covered
        shares[row] = seen.mean()
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        if len(columns):
            around = np.array((x1 + columns[0], y1 + rows[0], x1 + columns[-1] + 1, y1 + rows[-1] + 1), boxes.dtype)
            boxes[row, :2] = np.maximum(boxes[row, :2], around[:2])
            boxes[row, 2:] = np.minimum(boxes[row, 2:], around[2:])
        else:
            boxes[row, 2:] = boxes[row, :2]
    return boxes, shares


def _outwards(boxes: np.ndarray) -> list[list[int]]:
    """The four corners' coordinates of (G, 4) boxes, in whole pixels that hold all of them."""
    return np.concatenate((np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])), axis=1).astype(int).T.tolist()
