"""Pictures made of several: four side by side, and two on top of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Annotated

import cv2
import numpy as np

from otadet.data.pixels import filled, paste
from otadet.data.sample import Sample
from otadet.data.transforms.another import WithAnother, size_within
from otadet.data.transforms.geometry import PIXELS, SHARE, Color, RandomFlip, padding_of, resized
from otadet.data.transforms.objects import Hidden, Objects
from otadet.data.transforms.ranges import Range, check_range
from otadet.limits import Limits
from otadet.part import Part

_Cell = tuple[int, int]
"""Where it begins and ends along one axis."""


@dataclass(frozen=True)
class Mosaic(Part):
    """Four pictures around a random point: the sample's own and three others (YOLOv4).

    Each is scaled to fit into the whole result, and then by a factor of its own, drawn from `scale`; so 0.5 fits it
    into a quarter, and 1 leaves it at the size that it has alone. What is larger than its cell is cut at a random
    place, what is smaller touches the point, and padding fills the rest. The others come as the data set has them, so
    that each is resized once; padding that a letterbox gave to the sample is cut off. So it belongs first in a list.
    """

    size: tuple[Annotated[int, PIXELS], Annotated[int, PIXELS]] | None = None
    """(height, width) of the result, in pixels; None: that of the sample."""
    scale: Range = (0.5, 1.0)
    """(low, high) of the factors."""
    center: tuple[Annotated[float, SHARE], Annotated[float, SHARE]] = (0.25, 0.75)
    """(low, high) of the point's place, as shares (0-1) of the height and of the width."""
    p: Annotated[float, SHARE] = 1.0
    """Probability; the others are not read where it does not happen."""
    pad_value: Color | None = None
    """RGB of the padding. None, where it is that of an experiment's input: it cannot be called then."""
    min_visible: Annotated[float, SHARE] = 0.3
    """A box goes where less than this share (0-1) of its area is left in the picture."""
    hidden: Hidden = "drop"
    """What becomes of its rest there: "drop" leaves it to the background, "ignore" makes it an ignored region."""

    def check(self) -> None:
        check_range("scale", self.scale)
        check_range("center", self.center)

    @property
    def others(self) -> int:
        """How many other samples it needs."""
        return 3

    def output_size(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of the result for an image of that size; None where it is one of two."""
        if self.size is None or self.size == (height, width):
            return height, width
        return self.size if self.p == 1 else None

    def needed_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that another sample is brought to at the most, given the size that it has alone."""
        return size_within(height, width, *(self.size or (height, width)), scale=max(self.scale[1], 1.0))

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample]) -> Sample:
        if rng.random() >= self.p:
            return sample
        color = padding_of(self)
        height, width = self.size or sample.image.shape[:2]
        y, x = (round(side * rng.uniform(*self.center)) for side in (height, width))
        canvas = filled(height, width, color)
        scales = rng.uniform(*self.scale, size=4)
        tiles = [without_padding(sample, color), *others]
        tiles = [fitted(tile, height, width, float(scale)) for tile, scale in zip(tiles, scales, strict=True)]
        cells = product(pairwise((0, y, height)), pairwise((0, x, width)))
        parts = [self._put(tile, canvas, *cell, rng) for tile, cell in zip(tiles, cells, strict=True)]
        return Objects.joined(parts).put(sample, canvas, scale=tiles[0].scale)

    def _put(
        self,
        tile: Sample,
        canvas: np.ndarray,
        rows: tuple[int, int],
        columns: tuple[int, int],
        rng: np.random.Generator,
    ) -> Objects:
        """Draw the tile into its cell, and return its objects there, in pixels of the canvas."""
        top, left = (
            _place(cell, size, whole, rng)
            for cell, size, whole in zip((rows, columns), tile.image.shape, canvas.shape, strict=False)
        )
        paste(tile.image, canvas[slice(*rows), slice(*columns)], top - rows[0], left - columns[0])
        window = columns[0], rows[0], columns[1], rows[1]
        return Objects.of(tile).shifted(left, top).within(window, self.min_visible, self.hidden)


@dataclass(frozen=True)
class MixUp(WithAnother):
    """The mean of the sample and another one, with the boxes of both (YOLOX).

    The other is scaled to fit into the sample's size, then by a factor drawn from `scale`, mirrored at times, and
    padded or cut at a random place to exactly that size.
    """

    scale: Range = (0.5, 1.5)
    """(low, high) of the other's factor."""
    share: Annotated[float, Limits(0, 1, open_low=True, open_high=True)] = 0.5
    """Of the other in the mean, 0-1."""
    flip: Annotated[float, SHARE] = 0.5
    """Probability that the other is mirrored from left to right."""
    p: Annotated[float, SHARE] = 1.0
    """Probability; the other is not read where it does not happen."""
    pad_value: Color | None = None
    """RGB of the padding. None, where it is that of an experiment's input: it cannot be called then."""
    min_visible: Annotated[float, SHARE] = 0.3
    """A box of the other goes where less than this share (0-1) of its area is left in the picture."""
    hidden: Hidden = "drop"
    """What becomes of its rest there: "drop" leaves it to the background, "ignore" makes it an ignored region."""

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample]) -> Sample:
        if rng.random() >= self.p:
            return sample
        height, width = sample.image.shape[:2]
        other = fitted(others[0], height, width, float(rng.uniform(*self.scale)))
        other = RandomFlip(self.flip)(other, rng)
        top, left = (
            int(rng.integers(min(room, 0), max(room, 0), endpoint=True))
            for room in (height - other.image.shape[0], width - other.image.shape[1])
        )
        canvas = filled(height, width, padding_of(self))
        paste(other.image, canvas, top, left)
        mean = cv2.addWeighted(sample.image, 1 - self.share, canvas, self.share, 0)
        added = Objects.of(other).shifted(left, top).within((0, 0, width, height), self.min_visible, self.hidden)
        return Objects.joined([Objects.of(sample), added]).put(sample, mean)


def fitted(sample: Sample, height: int, width: int, scale: float = 1.0) -> Sample:
    """The sample at the largest size that fits into `height` x `width` pixels, times `scale`."""
    own_height, own_width = sample.image.shape[:2]
    return resized(sample, *size_within(own_height, own_width, height, width, scale=scale), "halves")


def without_padding(sample: Sample, color: tuple[int, int, int]) -> Sample:
    """A sample that has only been resized and padded, with `color`, without its padding; any other as it is."""
    height, width = (
        min(side, max(1, round(file * scale)))
        for side, file, scale in zip(sample.image.shape, sample.original_size, sample.scale[::-1], strict=False)
    )
    below, right = sample.image[height:], sample.image[:height, width:]
    if not (below.size or right.size) or (below != color).any() or (right != color).any():
        return sample
    return Objects.of(sample).within((0, 0, width, height)).put(sample, sample.image[:height, :width])


def _place(cell: _Cell, size: int, whole: int, rng: np.random.Generator) -> int:
    """Where a tile of `size` begins along one axis, in pixels, for a cell at the beginning or the end of `whole`."""
    start, end = cell
    first = start if start > 0 or end == whole else end - size
    if size <= end - start:
        return first
    return int(rng.integers(end - size, start, endpoint=True))
