"""One image with its objects, and what a transform is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


def no_boxes() -> np.ndarray:
    """(0, 4) float32."""
    return np.zeros((0, 4), np.float32)


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its objects; G and I may be 0."""

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
    ignored: np.ndarray = field(default_factory=no_boxes)
    """(I, 4) float32 xyxy, pixels of `image`: regions whose objects are not told apart, such as crowds. What is found
    there is neither right nor wrong."""


def unlabelled(image: np.ndarray) -> Sample:
    """An image (H, W, 3) uint8 RGB without anything known of it."""
    return Sample(image, no_boxes(), np.zeros(0, np.int64), 0, "", image.shape[:2])


Transform = Callable[[Sample, np.random.Generator], Sample]
"""Changes an image together with its boxes and its ignored regions, as chance has it; see `otadet.data.transforms`."""


class MixingTransform(Protocol):
    """A transform that needs other samples of the training set, as mosaic does."""

    @property
    def others(self) -> int:
        """How many: that many are drawn at random, each time anew, and passed as the data set has them."""
        ...

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample], /) -> Sample: ...


TrainTransform = Transform | MixingTransform
