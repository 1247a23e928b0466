"""Changes of an image's geometry: its boxes and ignored regions move along."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

import cv2
import numpy as np

from otadet.data.pixels import filled, padded, paste, resize
from otadet.data.sample import Sample, Transform
from otadet.data.transforms.objects import Hidden, Objects
from otadet.data.transforms.result import plain
from otadet.data.transforms.same_size import SameSize
from otadet.errors import UserError
from otadet.limits import Limits
from otadet.part import Part

Color = tuple[Annotated[int, Limits(0, 255)], Annotated[int, Limits(0, 255)], Annotated[int, Limits(0, 255)]]
"""RGB."""
Shrink = Literal["area", "linear"]
"""How an image becomes smaller."""
Rounding = Literal["nearest", "down"]
"""Of scaled sides to whole pixels."""

PIXELS = Limits(1, 65_535)
SHARE = Limits(0, 1)
FACTOR = Limits(0, 1000, open_low=True)


@dataclass(frozen=True)
class ResizeShortestEdge(Part):
    """Scale so that the shorter side has one of `sizes` pixels, drawn at random, but the longer at most `max_size`."""

    sizes: tuple[Annotated[int, PIXELS], ...]
    max_size: Annotated[int, PIXELS]
    shrink: Shrink = "area"
    """Of larger images: "area" averages its pixels; "linear" is what torchvision's networks were trained with."""
    rounding: Rounding = "nearest"
    """Of the scaled sides; "down" is torchvision's."""

    def check(self) -> None:
        if not self.sizes:
            raise UserError("sizes (): needs at least one size, such as 800")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.image.shape[:2]
        shortest = self.sizes[int(rng.integers(len(self.sizes)))]
        return resized(sample, *self._size(height, width, shortest), self.shrink)

    def output_size(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of the result for an image of that size; None where one of several sizes is drawn."""
        return self._size(height, width, self.sizes[0]) if len(set(self.sizes)) == 1 else None

    def needed_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the largest result for an image of that size."""
        return self._size(height, width, max(self.sizes))

    def _size(self, height: int, width: int, shortest: int) -> tuple[int, int]:
        factor = min(shortest / min(height, width), self.max_size / max(height, width))
        return _scaled(height, width, factor, self.rounding)


@dataclass(frozen=True)
class Letterbox(Part):
    """Scale to fit into a fixed size, keeping the aspect ratio, and pad at the right and the bottom."""

    size: tuple[Annotated[int, PIXELS], Annotated[int, PIXELS]]
    """(height, width) of the result, in pixels."""
    pad_value: Color | None = None
    """RGB of the padding. None, where it is that of an experiment's input: it cannot be called then."""
    shrink: Shrink = "area"
    """Of larger images: "area" averages its pixels, "linear" is what YOLOX's networks were trained with."""
    rounding: Rounding = "nearest"
    """Of the scaled sides; "down" is YOLOX's."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.image.shape[:2]
        sample = resized(sample, *self.needed_size(height, width), self.shrink)
        return replace(sample, image=padded(sample.image, self.size, padding_of(self)))

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result: that of every image."""
        return self.size[0], self.size[1]

    def needed_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of an image of that size before it is padded."""
        factor = min(self.size[0] / height, self.size[1] / width)
        return _scaled(height, width, factor, self.rounding)


@dataclass(frozen=True)
class FitInto:
    """`resize`, or a smaller size where its result does not fit into `size`; then padding to exactly `size`."""

    size: tuple[int, int]
    """(height, width) in pixels."""
    pad_value: tuple[int, int, int]
    """RGB of the padding."""
    resize: Transform

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        resized = self.resize(sample, rng)
        height, width = resized.image.shape[:2]
        if height > self.size[0] or width > self.size[1]:
            smaller = Letterbox(self.size, self.pad_value)
            if isinstance(self.resize, ResizeShortestEdge):
                smaller = replace(smaller, shrink=self.resize.shrink, rounding=self.resize.rounding)
            return smaller(sample, rng)
        return replace(resized, image=padded(resized.image, self.size, self.pad_value))


@dataclass(frozen=True)
class RandomFlip(SameSize, Part):
    """Mirror left-right with probability `horizontal`, then top-bottom with probability `vertical`."""

    horizontal: Annotated[float, SHARE] = 0.5
    vertical: Annotated[float, SHARE] = 0.0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return plain(self.as_view(sample, rng))

    def as_view(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The same, except that the image is a mirrored view of that of `sample`, which takes no time."""
        image, boxes, ignored = sample.image, sample.boxes, sample.ignored
        if rng.random() < self.horizontal:
            boxes, ignored = (_mirrored(part, image.shape[1], axis=0) for part in (boxes, ignored))
            image = image[:, ::-1]
        if rng.random() < self.vertical:
            boxes, ignored = (_mirrored(part, image.shape[0], axis=1) for part in (boxes, ignored))
            image = image[::-1]
        return sample if image is sample.image else replace(sample, image=image, boxes=boxes, ignored=ignored)


@dataclass(frozen=True)
class RandomTranspose(Part):
    """Swap x and y with probability `p`. With both flips before it: the 8 symmetries of a picture without an up."""

    p: Annotated[float, SHARE] = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.p:
            return sample
        return replace(
            sample,
            image=cv2.transpose(sample.image),
            boxes=_swapped(sample.boxes),
            ignored=_swapped(sample.ignored),
            scale=sample.scale[::-1],
        )


@dataclass(frozen=True)
class RandomZoom(SameSize, Part):
    """Zoom out (padding) or in (cropping) at a random place; the image keeps its size.

    The factor is drawn log-uniformly from [low, high].
    """

    low: Annotated[float, FACTOR]
    high: Annotated[float, FACTOR]
    pad_value: Color | None = None
    """RGB of the padding. None, where it is that of an experiment's input: it cannot be called then."""
    min_visible: Annotated[float, SHARE] = 0.3
    """A box goes where less than this share (0-1) of its area is left in the picture."""
    hidden: Hidden = "drop"
    """What becomes of its rest there: "drop" leaves it to the background, "ignore" makes it an ignored region."""

    def check(self) -> None:
        if self.low > self.high:
            raise UserError(f"low {self.low}, high {self.high}: needs low <= high")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.image.shape[:2]
        factor = np.exp(rng.uniform(np.log(self.low), np.log(self.high)))
        zoomed = resized(sample, max(1, round(height * factor)), max(1, round(width * factor)))
        top, left = (
            int(rng.integers(min(room, 0), max(room, 0), endpoint=True))
            for room in (height - zoomed.image.shape[0], width - zoomed.image.shape[1])
        )
        image = filled(height, width, padding_of(self))
        paste(zoomed.image, image, top, left)
        objects = Objects.of(zoomed).shifted(left, top).within((0, 0, width, height), self.min_visible, self.hidden)
        return objects.put(zoomed, image)


def _scaled(height: int, width: int, factor: float, rounding: str) -> tuple[int, int]:
    """(height, width) in whole pixels."""
    rounded = round if rounding == "nearest" else int
    return max(1, rounded(height * factor)), max(1, rounded(width * factor))


def padding_of(transform: Any) -> Color:
    """Its RGB of the padding. Raises `UserError` where it has none."""
    if transform.pad_value is None:
        raise UserError(f"{transform}: needs a pad_value, the RGB of the padding")
    return cast("Color", transform.pad_value)


def _mirrored(boxes: np.ndarray, side: int, axis: int) -> np.ndarray:
    """(G, 4) xyxy -> (G, 4) after a flip along `axis`, 0 for x and 1 for y, on which the image has `side` pixels."""
    if not len(boxes):
        return boxes
    mirrored = boxes.copy()
    mirrored[:, axis], mirrored[:, axis + 2] = side - boxes[:, axis + 2], side - boxes[:, axis]
    return mirrored


def _swapped(boxes: np.ndarray) -> np.ndarray:
    """(G, 4) xyxy -> (G, 4) yxyx."""
    return boxes[:, [1, 0, 3, 2]]


def resized(sample: Sample, height: int, width: int, shrink: str = "area") -> Sample:
    """The sample at that size, with its objects."""
    x, y = width / sample.image.shape[1], height / sample.image.shape[0]
    scale = sample.scale[0] * x, sample.scale[1] * y
    objects = Objects.of(sample).scaled(x, y).within((0, 0, width, height))
    return objects.put(sample, resize(sample.image, height, width, shrink), scale=scale)
