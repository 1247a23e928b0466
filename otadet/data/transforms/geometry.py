"""Random and fixed changes of an image together with its boxes.

A transform is called with a `Sample` and a random generator and returns a new `Sample`; it keeps no state, so the same
generator gives the same result. Boxes leave every transform inside the image, none of them degenerate, all of them that
there are: their number is never limited.

A transform that knows the size of its result beforehand has a method `output_size`, by which images of one size are
found before they are read. One of yours need not have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from otadet.errors import UserError

MIN_SIDE = 0.01
"""Pixels. A box with a shorter side is degenerate: no anchor point can lie inside it."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its objects; G may be 0."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    boxes: np.ndarray
    """(G, 4) float32 xyxy, pixels of `image`."""
    labels: np.ndarray
    """(G,) int64 in [0, C)."""
    image_id: int
    file_name: str
    original_size: tuple[int, int]
    """(height, width) of the file, in pixels."""
    scale: tuple[float, float] = (1.0, 1.0)
    """(x, y) pixels of `image` per pixel of the file. Resizing and padding keep the content at the top-left corner, so
    dividing by `scale` leads back to the file; after a random flip, transposition or zoom it does not."""


Transform = Callable[[Sample, np.random.Generator], Sample]


@dataclass(frozen=True)
class Compose:
    """One transform after the other."""

    transforms: tuple[Transform, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample

    def output_size(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of the result for an image of that size, or None where it is not known beforehand."""
        size: tuple[int, int] | None = (height, width)
        for transform in self.transforms:
            known = getattr(transform, "output_size", None)
            size = None if known is None or size is None else known(*size)
        return size


@dataclass(frozen=True)
class ResizeShortestEdge:
    """Scale so that the shorter side has one of `sizes` pixels, drawn at random, but the longer at most `max_size`."""

    sizes: tuple[int, ...]
    max_size: int

    def __post_init__(self) -> None:
        if not self.sizes or min(*self.sizes, self.max_size) < 1:
            raise UserError(f"{self}: needs one size or more, and all of them positive")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return _resized(sample, *self._size(*sample.image.shape[:2], int(rng.choice(self.sizes))))

    def output_size(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of the result for an image of that size; None where one of several sizes is drawn."""
        return self._size(height, width, self.sizes[0]) if len(set(self.sizes)) == 1 else None

    def _size(self, height: int, width: int, shortest: int) -> tuple[int, int]:
        factor = min(shortest / min(height, width), self.max_size / max(height, width))
        return max(1, round(height * factor)), max(1, round(width * factor))


@dataclass(frozen=True)
class Letterbox:
    """Scale to fit into a fixed size, keeping the aspect ratio, and pad at the right and the bottom."""

    size: tuple[int, int]
    """(height, width) of the result, in pixels."""
    pad_value: tuple[int, int, int]
    """RGB of the padding."""

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise UserError(f"{self}: the size is a height and a width in pixels")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.image.shape[:2]
        factor = min(self.size[0] / height, self.size[1] / width)
        sample = _resized(sample, max(1, round(height * factor)), max(1, round(width * factor)))
        canvas = np.full((*self.size, 3), self.pad_value, np.uint8)
        canvas[: sample.image.shape[0], : sample.image.shape[1]] = sample.image
        return replace(sample, image=canvas)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result: that of every image."""
        return self.size[0], self.size[1]


@dataclass(frozen=True)
class RandomFlip:
    """Mirror left-right with probability `horizontal`, then top-bottom with probability `vertical`."""

    horizontal: float = 0.5
    vertical: float = 0.0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image, boxes = sample.image, sample.boxes
        height, width = image.shape[:2]
        if rng.random() < self.horizontal:
            image = image[:, ::-1]
            boxes = np.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), axis=1)
        if rng.random() < self.vertical:
            image = image[::-1]
            boxes = np.stack((boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]), axis=1)
        return replace(sample, image=np.ascontiguousarray(image), boxes=boxes)


@dataclass(frozen=True)
class RandomTranspose:
    """Swap x and y with probability `p`. With both flips before it: the 8 symmetries of a picture without an up."""

    p: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.p:
            return sample
        image = np.ascontiguousarray(sample.image.transpose(1, 0, 2))
        return replace(sample, image=image, boxes=sample.boxes[:, [1, 0, 3, 2]], scale=sample.scale[::-1])


@dataclass(frozen=True)
class ColorJitter:
    """Random brightness, contrast and saturation.

    Each is multiplied by a factor drawn from [1 - strength, 1 + strength]; a strength of 0 leaves it alone.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        strengths = np.array((self.brightness, self.contrast, self.saturation))
        brightness, contrast, saturation = 1 + strengths * rng.uniform(-1, 1, size=3)
        # The three steps are affine in the colour, so one matrix does them without rounding in between.
        luma = np.array((0.299, 0.587, 0.114))
        saturate = saturation * np.eye(3) + (1 - saturation) * luma
        mean = brightness * luma @ cv2.mean(sample.image)[:3]
        matrix = np.column_stack((contrast * brightness * saturate, np.full(3, (1 - contrast) * mean)))
        return replace(sample, image=cv2.transform(sample.image, matrix))


@dataclass(frozen=True)
class RandomZoom:
    """Zoom out (padding) or in (cropping) at a random place; the image keeps its size.

    The factor is drawn log-uniformly from [low, high]. A box of which less than `min_visible` (0-1, by area) is left in
    the picture is dropped.
    """

    low: float
    high: float
    pad_value: tuple[int, int, int]
    min_visible: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise UserError(f"{self}: needs 0 < low <= high")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.image.shape[:2]
        factor = np.exp(rng.uniform(np.log(self.low), np.log(self.high)))
        zoomed = _resized(sample, max(1, round(height * factor)), max(1, round(width * factor)))
        top, left = (
            int(rng.integers(min(room, 0), max(room, 0), endpoint=True))
            for room in (height - zoomed.image.shape[0], width - zoomed.image.shape[1])
        )
        image = np.full_like(sample.image, self.pad_value)
        target = image[max(top, 0) :, max(left, 0) :]
        source = zoomed.image[max(-top, 0) :, max(-left, 0) :][: target.shape[0], : target.shape[1]]
        target[: source.shape[0], : source.shape[1]] = source
        offset = np.array((left, top, left, top), np.float32)
        return _with_boxes(zoomed, image, zoomed.boxes + offset, self.min_visible)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, 3) -> (height, width, 3) pixels; averages when it shrinks, so that fine texture does not alias."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height < image.shape[0] or width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def clip_boxes(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(G, 4) xyxy -> (G, 4), limited to an image of `height` x `width` pixels."""
    return boxes.clip(0, np.array((width, height, width, height), boxes.dtype))


def sides(boxes: np.ndarray) -> np.ndarray:
    """(G, 4) xyxy -> (G, 2) width and height."""
    return boxes[:, 2:] - boxes[:, :2]


def _resized(sample: Sample, height: int, width: int) -> Sample:
    x, y = width / sample.image.shape[1], height / sample.image.shape[0]
    boxes = sample.boxes * np.array((x, y, x, y), np.float32)
    resized = replace(sample, scale=(sample.scale[0] * x, sample.scale[1] * y))
    return _with_boxes(resized, resize(sample.image, height, width), boxes)


def _with_boxes(sample: Sample, image: np.ndarray, boxes: np.ndarray, min_visible: float = 0.0) -> Sample:
    """`sample` with another image and its boxes (G, 4) moved along: clipped, lost and degenerate ones dropped."""
    clipped = clip_boxes(boxes, *image.shape[:2])
    visible = sides(clipped).prod(axis=1) >= min_visible * sides(boxes).prod(axis=1)
    keep = visible & (sides(clipped).min(axis=1) >= MIN_SIDE)
    return replace(sample, image=image, boxes=clipped[keep], labels=sample.labels[keep])
