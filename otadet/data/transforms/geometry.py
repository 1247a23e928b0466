"""Changes of an image's geometry: its boxes and ignored regions move along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

import cv2
import numpy as np

from otadet.data.pixels import filled, padded, paste
from otadet.data.sample import Sample, Transform
from otadet.data.transforms.objects import Hidden, Objects
from otadet.data.transforms.same_size import SameSize
from otadet.data.view import OnViews, Picture, View
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
class ResizeShortestEdge(OnViews, Part):
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

    def as_view(self, view: View, rng: np.random.Generator, others: Sequence[Sample] = ()) -> View:
        view = view.settled()
        # Nothing is drawn of one size.
        shortest = self.sizes[int(rng.integers(len(self.sizes)))] if len(self.sizes) > 1 else self.sizes[0]
        size = self._size(*view.picture.size, shortest)
        return _resized(view, view.picture.resized(size, self.shrink))

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
class Letterbox(OnViews, Part):
    """Scale to fit into a fixed size, keeping the aspect ratio, and pad at the right and the bottom."""

    size: tuple[Annotated[int, PIXELS], Annotated[int, PIXELS]]
    """(height, width) of the result, in pixels."""
    pad_value: Color | None = None
    """RGB of the padding. None, where it is that of an experiment's input: it cannot be called then."""
    shrink: Shrink = "area"
    """Of larger images: "area" averages its pixels, "linear" is what YOLOX's networks were trained with."""
    rounding: Rounding = "nearest"
    """Of the scaled sides; "down" is YOLOX's."""

    def as_view(self, view: View, rng: np.random.Generator, others: Sequence[Sample] = ()) -> View:
        view = view.settled()
        size = self.needed_size(*view.picture.size)
        return _resized(view, view.picture.resized(size, self.shrink, self.size, padding_of(self)))

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
class RandomFlip(SameSize, OnViews, Part):
    """Mirror left-right with probability `horizontal`, then top-bottom with probability `vertical`."""

    horizontal: Annotated[float, SHARE] = 0.5
    vertical: Annotated[float, SHARE] = 0.0

    def as_view(self, view: View, rng: np.random.Generator, others: Sequence[Sample] = ()) -> View:
        sample, (height, width) = view.sample, view.picture.padded
        boxes, ignored = sample.boxes, sample.ignored
        if left_right := rng.random() < self.horizontal:
            boxes, ignored = (_mirrored(part, width, axis=0) for part in (boxes, ignored))
        if top_bottom := rng.random() < self.vertical:
            boxes, ignored = (_mirrored(part, height, axis=1) for part in (boxes, ignored))
        if not (left_right or top_bottom):
            return view
        picture = view.picture.mirrored_also(left_right, top_bottom)
        return View(replace(sample, boxes=boxes, ignored=ignored), picture)


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
    view = View.of(sample)
    return _resized(view, view.picture.resized((height, width), shrink)).plain()


def _resized(view: View, picture: Picture) -> View:
    """The view with `picture`, which is its own at another size, and its objects there."""
    sample, (height, width) = view.sample, picture.size
    x, y = width / view.picture.size[1], height / view.picture.size[0]
    scale = sample.scale[0] * x, sample.scale[1] * y
    objects = Objects.of(sample).scaled(x, y).within((0, 0, width, height))
    return View(objects.put(sample, sample.image, scale=scale), picture)
