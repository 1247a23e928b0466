"""Changes of colour: boxes stay where they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import cv2
import numpy as np

from otadet.data.sample import Sample
from otadet.data.transforms.geometry import SHARE
from otadet.data.transforms.same_size import SameSize
from otadet.limits import Limits
from otadet.part import Part


@dataclass(frozen=True)
class ColorJitter(SameSize, Part):
    """Random brightness, contrast and saturation.

    Each is multiplied by a factor drawn from [1 - strength, 1 + strength]; a strength of 0 leaves it alone.
    """

    brightness: Annotated[float, Limits(0, 1)] = 0.2
    """Strength."""
    contrast: Annotated[float, Limits(0, 1)] = 0.2
    """Strength."""
    saturation: Annotated[float, Limits(0, 1)] = 0.2
    """Strength."""

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
class RandomHSV(SameSize, Part):
    """Random hue, saturation and value, in OpenCV's HSV (YOLO's).

    The hue is turned by up to `hue` of its circle, either way; the others are multiplied by a factor drawn from
    [1 - gain, 1 + gain].
    """

    hue: Annotated[float, Limits(0, 0.5)] = 0.015
    """Share (0-0.5) of the circle."""
    saturation: Annotated[float, SHARE] = 0.7
    """Gain."""
    value: Annotated[float, SHARE] = 0.4
    """Gain."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        hue, saturation, value = rng.uniform(-1, 1, size=3) * (self.hue, self.saturation, self.value)
        return replace(sample, image=_in_hsv(sample.image, hue, 1 + saturation, 1 + value))


@dataclass(frozen=True)
class PhotometricDistortion(SameSize, Part):
    """Brightness, contrast, saturation and hue, each with probability `p` (SSD's); contrast comes first or last."""

    brightness: Annotated[float, Limits(0, 255)] = 32.0
    """What is added is drawn from [-brightness, brightness], of 255."""
    contrast: Annotated[float, SHARE] = 0.5
    """The factor is drawn from [1 - contrast, 1 + contrast]."""
    saturation: Annotated[float, SHARE] = 0.5
    """The factor is drawn from [1 - saturation, 1 + saturation]."""
    hue: Annotated[float, Limits(0, 0.5)] = 0.05
    """Share (0-0.5) of the circle, by which it is turned either way; SSD's 18 degrees."""
    swap: Annotated[float, SHARE] = 0.0
    """Probability that red, green and blue change places."""
    p: Annotated[float, SHARE] = 0.5
    """Probability of each of the four."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        strengths = np.array((self.brightness, self.contrast, self.saturation, self.hue))
        drawn = strengths * rng.uniform(-1, 1, size=4) * (rng.random(4) < self.p)
        (brightness, contrast, saturation, hue), contrast_last, swapped = drawn, rng.random() < 0.5, rng.random()
        first = 1.0 if contrast_last else 1 + contrast
        image = _linear(sample.image, first, first * brightness)
        if saturation or hue:
            image = _in_hsv(image, hue, 1 + saturation, 1.0)
        if contrast_last:
            image = _linear(image, 1 + contrast, 0.0)
        if swapped < self.swap:
            image = np.ascontiguousarray(image[..., rng.permutation(3)])
        return replace(sample, image=image)


def _linear(image: np.ndarray, factor: float, offset: float) -> np.ndarray:
    """Every value times `factor`, plus `offset`."""
    if factor == 1 and not offset:
        return image
    return cv2.LUT(image, (np.arange(256) * factor + offset).round().clip(0, 255).astype(np.uint8))


def _in_hsv(image: np.ndarray, hue: float, saturation: float, value: float) -> np.ndarray:
    """hue: what is added, as a share of the circle; the others are factors."""
    values = np.arange(256)
    # The circle has 256 steps in the "full" conversion, and only 180 in the other.
    turned = (values + round(256 * hue)) % 256
    table = np.stack((turned, values * saturation, values * value), axis=-1).round().clip(0, 255).astype(np.uint8)
    changed = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL), table[None])
    return cv2.cvtColor(changed, cv2.COLOR_HSV2RGB_FULL)
