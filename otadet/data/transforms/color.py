"""Changes of colour: boxes stay where they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import cv2
import numpy as np

from otadet.data.sample import Sample
from otadet.limits import Limits
from otadet.part import Part


@dataclass(frozen=True)
class ColorJitter(Part):
    """Random brightness, contrast and saturation.

    Each is multiplied by a factor drawn from [1 - strength, 1 + strength]; a strength of 0 leaves it alone.
    """

    brightness: Annotated[float, Limits(0, 1)] = 0.2
    contrast: Annotated[float, Limits(0, 1)] = 0.2
    saturation: Annotated[float, Limits(0, 1)] = 0.2

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        strengths = np.array((self.brightness, self.contrast, self.saturation))
        brightness, contrast, saturation = 1 + strengths * rng.uniform(-1, 1, size=3)
        # The three steps are affine in the colour, so one matrix does them without rounding in between.
        luma = np.array((0.299, 0.587, 0.114))
        saturate = saturation * np.eye(3) + (1 - saturation) * luma
        mean = brightness * luma @ cv2.mean(sample.image)[:3]
        matrix = np.column_stack((contrast * brightness * saturate, np.full(3, (1 - contrast) * mean)))
        return replace(sample, image=cv2.transform(sample.image, matrix))
