"""Rotation, scale, shear and shift at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np

from otadet.data.pixels import resize
from otadet.data.sample import Sample
from otadet.data.transforms.geometry import SHARE, Color, padding_of
from otadet.data.transforms.objects import Hidden, Objects
from otadet.data.transforms.ranges import Range, check_range, log_uniform
from otadet.data.transforms.same_size import SameSize
from otadet.limits import Limits
from otadet.part import Part

_SHRINKS = 0.75
"""Below this scale fine texture would alias, unless the image is averaged first."""


@dataclass(frozen=True)
class RandomAffine(SameSize, Part):
    """The image scaled, sheared and rotated about its centre, and shifted; its size stays, padding fills the rest.

    A box becomes the one around its four moved corners. Without rotation and shear that is as tight as before; with
    them it is too large for objects that do not fill their box: at 10 degrees a square box grows by up to 16 % per
    side. For strong rotations prefer `RandomFlip` with `RandomTranspose`, whose boxes stay tight.
    """

    degrees: Annotated[float, Limits(0, 180)] = 0.0
    """The angle is drawn from [-degrees, degrees]."""
    translate: Annotated[float, SHARE] = 0.1
    """The shift is drawn from [-translate, translate] times the width, and the height."""
    scale: Range = (0.7, 1.5)
    """(low, high) of the factor, drawn log-uniformly."""
    shear: Annotated[float, Limits(0, 80)] = 0.0
    """Degrees; both angles, of rows and of columns, are drawn from [-shear, shear]."""
    p: Annotated[float, SHARE] = 1.0
    """Probability."""
    pad_value: Color | None = None
    """RGB of the padding. None, where it is that of an experiment's input: it cannot be called then."""
    min_visible: Annotated[float, SHARE] = 0.3
    """A box goes where less than this share (0-1) of its area is left in the picture."""
    hidden: Hidden = "drop"
    """What becomes of its rest there: "drop" leaves it to the background, "ignore" makes it an ignored region."""

    def check(self) -> None:
        check_range("scale", self.scale)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.p:
            return sample
        height, width = sample.image.shape[:2]
        scale = log_uniform(self.scale, rng)
        angle = np.deg2rad(self.degrees * rng.uniform(-1, 1))
        shears = np.tan(np.deg2rad(self.shear * rng.uniform(-1, 1, size=2)))
        shift = self.translate * rng.uniform(-1, 1, size=2) * (width, height)
        matrix = _about(width / 2, height / 2, _linear(angle, scale, shears), shift)
        moved = Objects(_moved(sample.boxes, matrix), sample.labels, _moved(sample.ignored, matrix))
        return moved.within((0, 0, width, height), self.min_visible, self.hidden).put(
            sample,
            _warped(sample.image, matrix, scale, padding_of(self)),
            scale=(sample.scale[0] * scale, sample.scale[1] * scale),
        )


def _linear(angle: float, scale: float, shears: np.ndarray) -> np.ndarray:
    """(2, 2): sheared first, then rotated and scaled. angle: in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return scale * np.array(((cos, -sin), (sin, cos))) @ np.array(((1, shears[0]), (shears[1], 1)))


def _about(x: float, y: float, linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(3, 3): `linear` about the point (x, y), then the shift."""
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.array((x, y)) + shift - linear @ (x, y)
    return matrix


def _moved(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(G, 4) xyxy -> (G, 4) around the moved corners."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1).astype(np.float32)


def _warped(image: np.ndarray, matrix: np.ndarray, scale: float, color: tuple[int, int, int]) -> np.ndarray:
    """The image moved by the (3, 3) `matrix`, which holds `scale`, onto a canvas of its own size."""
    height, width = image.shape[:2]
    if scale < _SHRINKS:
        image = resize(image, max(1, round(height * scale)), max(1, round(width * scale)), "halves")
        matrix = matrix @ np.diag((width / image.shape[1], height / image.shape[0], 1))
    # Here the first pixel reaches from 0 to 1; to OpenCV its middle is at 0.
    half = np.array(((1, 0, 0.5), (0, 1, 0.5), (0, 0, 1)))
    matrix = np.linalg.inv(half) @ matrix @ half
    return cv2.warpAffine(image, matrix[:2], (width, height), flags=cv2.INTER_LINEAR, borderValue=color)
