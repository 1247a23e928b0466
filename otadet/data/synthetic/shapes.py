"""Outlines, masks and textures of the objects in the procedural data set."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_SUPERSAMPLING = 4
"""Sub-pixels a side that the edge of a mask is averaged over."""
_FRACTION_BITS = 4
"""Bits after the binary point in OpenCV's polygon coordinates."""


def _ring_of_points(radii: list[float], count: int) -> np.ndarray:
    """(count, 2) x, y: points at equal angles, the first on top, with `radii` taken in turn."""
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    return np.resize(radii, count)[:, None] * np.stack((np.cos(angles), np.sin(angles)), axis=1)


_CROSS = np.array(
    [(1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1), (-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1)]
)

OUTLINES: dict[str, tuple[np.ndarray, ...]] = {
    "disc": (_ring_of_points([1], 64),),
    "square": (np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]),),
    "triangle": (_ring_of_points([1], 3),),
    "star": (_ring_of_points([1, 0.45], 10),),
    "cross": (_CROSS,),
    "ring": (_ring_of_points([1], 64), _ring_of_points([0.55], 64)),
}
"""Closed polygons (V, 2) of each kind, of any size, around (0, 0); a second polygon is a hole in the first."""


def place(outline: tuple[np.ndarray, ...], side: float, angle: float, stretch: float, center: np.ndarray) -> list:
    """The polygons of an outline, first stretched along x, then turned by `angle` (radians), then scaled so that the
    longer side of their extent is `side` pixels, around `center` (2,)."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = [polygon * (stretch, 1.0) @ turn.T for polygon in outline]
    low, high = turned[0].min(axis=0), turned[0].max(axis=0)
    return [(polygon - (low + high) / 2) * (side / (high - low).max()) + center for polygon in turned]


@dataclass(frozen=True, eq=False)
class Mask:
    """The pixels of a shape, in a window around it."""

    whole: np.ndarray
    """(h, w) float32: the part of each pixel that the shape covers, 0-1."""
    inside: np.ndarray
    """(h, w) float32: the same without the rim."""
    left: int
    """Column of the window's first pixel; may lie outside the picture, as `top` may."""
    top: int


def draw_mask(polygons: list[np.ndarray], rim: float) -> Mask:
    """Polygons in pixels, the second being a hole, and the width of their rim in pixels -> anti-aliased mask."""
    corner = np.floor(polygons[0].min(axis=0)).astype(int) - 1
    width, height = (np.ceil(polygons[0].max(axis=0)).astype(int) + 1 - corner).tolist()
    # OpenCV counts from the middle of the first pixel, everything else from its corner.
    in_subpixels = [((polygon - corner) * _SUPERSAMPLING - 0.5) * 2**_FRACTION_BITS for polygon in polygons]
    points = [np.round(polygon).astype(np.int32) for polygon in in_subpixels]
    whole = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.float32)
    cv2.fillPoly(whole, points, 1.0, shift=_FRACTION_BITS)
    inside = whole.copy()
    # Half of a line along the edge lies outside.
    thickness = max(round(2 * rim * _SUPERSAMPLING), 1)
    cv2.polylines(inside, points, isClosed=True, color=0.0, thickness=thickness, shift=_FRACTION_BITS)
    whole, inside = (cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA) for part in (whole, inside))
    return Mask(whole, inside, left=int(corner[0]), top=int(corner[1]))


def texture(rng: np.random.Generator, height: int, width: int, period: float) -> np.ndarray:
    """(height, width) float32 in 0-1: stripes, checks, a gradient or noise, with details of about `period` pixels."""
    kind = rng.choice(["stripes", "checks", "gradient", "noise"])
    if kind == "noise":
        grid = rng.random((int(height / period) + 2, int(width / period) + 2), dtype=np.float32)
        return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    angle, phase = rng.uniform(0, 2 * np.pi, size=2)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if kind == "gradient":
        return (along - along.min()) / max(np.ptp(along), 1)
    waves = np.sin(2 * np.pi / period * along + phase)
    if kind == "checks":
        waves *= np.sin(2 * np.pi / period * across + phase)
    # Steep but not sudden, so that the pattern does not alias.
    return 0.5 + 0.5 * np.tanh(3 * waves)
