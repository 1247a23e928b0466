"""What pretrained weights were trained on, as mean and deviation of the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Three = tuple[float, float, float]


@dataclass(frozen=True)
class Normalization:
    """`(pixel - mean) / std` per channel of RGB, on the 0-255 scale."""

    mean: Three
    std: Three

    @classmethod
    def of_unit(cls, mean: Sequence[float], std: Sequence[float]) -> Normalization:
        """Of numbers on the scale of 0-1. Raises `ValueError` where these are not three."""
        mean, std = (tuple(round(255 * float(value), 4) for value in values) for values in (mean, std))
        (red, green, blue), (red_std, green_std, blue_std) = mean, std
        return cls((red, green, blue), (red_std, green_std, blue_std))

    def distance(self, other: Normalization) -> float:
        """How far apart the two put the same pixel, at most."""
        return max(
            abs((pixel - mean) / std - (pixel - other_mean) / other_std)
            for pixel in (0, 255)
            for mean, std, other_mean, other_std in zip(self.mean, self.std, other.mean, other.std, strict=True)
        )


IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Torchvision's, and that of most networks of timm."""
