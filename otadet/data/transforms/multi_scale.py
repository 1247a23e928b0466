"""Resizing to a size that is drawn for each batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otadet.data.sample import Sample
from otadet.data.transforms.geometry import Letterbox, ResizeShortestEdge
from otadet.errors import UserError
from otadet.part import Part


@dataclass(frozen=True)
class MultiScale(Part):
    """One of `resizes`, drawn for each iteration: all images of its batch, on every device, are resized alike.

    `MultiScale(tuple(Letterbox((side, side)) for side in range(480, 801, 32)))` has batches of one size without padding
    up to the largest of it, as `ResizeShortestEdge` with several sizes, which draws for each image, has not.
    """

    resizes: tuple[Letterbox | ResizeShortestEdge, ...]

    def check(self) -> None:
        if not self.resizes:
            raise UserError("resizes (): needs at least one, such as Letterbox((640, 640))")

    def for_batch(self, rng: np.random.Generator) -> Letterbox | ResizeShortestEdge:
        """What it is in one batch. rng: the same for all its images."""
        return self.resizes[int(rng.integers(len(self.resizes)))]

    def needed_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the largest result for an image of that size."""
        sizes = [resize.needed_size(height, width) for resize in self.resizes]
        return max(size[0] for size in sizes), max(size[1] for size in sizes)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        raise UserError(
            f"{self}: only the loader of a training knows what a batch is; use it as the transform of the training "
            "set, by itself or in a Compose"
        )
