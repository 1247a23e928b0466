"""Random pictures of overlapping textured shapes, with the boxes of their objects."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from otadet.data.synthetic.shapes import OUTLINES, Mask, draw_mask, place, texture

SMALLEST, LARGEST = 1 / 10, 4 / 5
"""Longer side of an object before it is clipped, as a part of the picture's side: three octaves."""
FEWEST, MOST = 5, 14
"""Objects that are thrown into a picture; some of them end up hidden."""
LEAST_VISIBLE = 0.5
"""Part of an object that must be neither covered nor outside the picture, or else it is left out."""
LARGEST_TURN, LARGEST_STRETCH = 0.5, 1.3
"""Radians to either side, and the factor between width and height."""
RIM = 1 / 120
"""Width of the line around an object, as a part of the picture's side."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture."""

    image: np.ndarray
    """(size, size, 3) uint8 RGB."""
    boxes: np.ndarray
    """(G, 4) float64 xyxy pixels: the full extent of each object, covered parts included, clipped to the picture."""
    labels: np.ndarray
    """(G,) int64."""


@dataclass(frozen=True, eq=False)
class _Object:
    label: int
    side: float
    box: np.ndarray
    """(4,) xyxy pixels, clipped to the picture."""
    area: float
    """Square pixels, the part outside the picture included."""
    window: tuple[slice, slice]
    """Rows and columns of the picture that it may touch."""
    whole: np.ndarray
    """(h, w) float32: how much of each pixel of the window it covers, 0-1."""
    inside: np.ndarray
    """(h, w) float32: the same without its rim."""


def draw_scene(rng: np.random.Generator, size: int, classes: int) -> Scene:
    """A random picture of `size` x `size` pixels, with objects of the first `classes` kinds of `shapes.OUTLINES`."""
    objects = [_random_object(rng, size, classes) for _ in range(rng.integers(FEWEST, MOST, endpoint=True))]
    # Small objects are mostly in front: the other way round, few of them would be seen.
    objects.sort(key=lambda thing: thing.side * rng.lognormal(sigma=0.5), reverse=True)
    objects = _visible(objects, size)

    background = rng.uniform(0, 255, size=3)
    canvas = _textured(rng, (size, size), background, contrast=35, detail=size / rng.uniform(3, 30))
    image = _with_clutter(rng, _as_pixels(canvas)).astype(np.float32)
    for thing in objects:
        _paint(rng, image[thing.window], thing, background)
    image *= rng.uniform(0.75, 1.1) + 0.25 * (texture(rng, size, size, period=2 * size)[..., None] - 0.5)
    image += rng.normal(0, 4, size=image.shape)
    return Scene(
        image=_as_pixels(image),
        boxes=np.array([thing.box for thing in objects]).reshape(-1, 4),
        labels=np.array([thing.label for thing in objects], dtype=np.int64),
    )


def _random_object(rng: np.random.Generator, size: int, classes: int) -> _Object:
    label = int(rng.integers(classes))
    side = float(size * np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
    angle = rng.uniform(-LARGEST_TURN, LARGEST_TURN)
    stretch = np.exp(rng.uniform(-1, 1) * np.log(LARGEST_STRETCH))
    polygons = place(list(OUTLINES.values())[label], side, angle, stretch, center=rng.uniform(0, size, size=2))
    extent = np.concatenate((polygons[0].min(axis=0), polygons[0].max(axis=0)))
    mask = draw_mask(polygons, rim=RIM * size)
    window, part = _overlap(mask, size)
    return _Object(
        label=label,
        side=side,
        box=extent.clip(0, size),
        area=float(mask.whole.sum()),
        window=window,
        whole=mask.whole[part],
        inside=mask.inside[part],
    )


def _overlap(mask: Mask, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns that a mask and the picture share: in the picture, and in the mask."""
    height, width = mask.whole.shape
    rows = slice(max(mask.top, 0), min(mask.top + height, size))
    columns = slice(max(mask.left, 0), min(mask.left + width, size))
    part = (
        slice(rows.start - mask.top, rows.stop - mask.top),
        slice(columns.start - mask.left, columns.stop - mask.left),
    )
    return (rows, columns), part


def _visible(objects: list[_Object], size: int) -> list[_Object]:
    """Those of which enough can be seen. Objects are in painter's order, back to front."""
    uncovered = np.ones((size, size), np.float32)
    kept = []
    for thing in reversed(objects):
        if (thing.whole * uncovered[thing.window]).sum() >= LEAST_VISIBLE * thing.area:
            uncovered[thing.window] *= 1 - thing.whole
            kept.append(thing)
    return kept[::-1]


def _paint(rng: np.random.Generator, canvas: np.ndarray, thing: _Object, background: np.ndarray) -> None:
    """Draws an object into `canvas` (h, w, 3), its window of a picture whose mean colour is `background`."""
    detail = max(thing.side / rng.uniform(1.5, 5), 3.0)
    colors = rng.uniform(0, 255, size=(4, 3))
    color = colors[np.linalg.norm(colors - background, axis=1).argmax()]
    fill = _textured(rng, thing.whole.shape, color, contrast=40, detail=detail)
    rim = 0.15 * color + (0 if background.mean() > 110 else 215)
    canvas += thing.whole[..., None] * (rim - canvas)
    canvas += thing.inside[..., None] * (fill - canvas)


def _textured(
    rng: np.random.Generator, shape: tuple[int, int], color: np.ndarray, contrast: float, detail: float
) -> np.ndarray:
    """(h, w, 3) float32 in 0-255: a texture between two colours on either side of `color`."""
    direction = rng.normal(size=3)
    swing = contrast * direction / np.linalg.norm(direction)
    weights = texture(rng, *shape, period=detail)[..., None] - 0.5
    return (color + 2 * swing * weights).astype(np.float32)


def _with_clutter(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """`image` (size, size, 3) uint8 with lines across it, which belong to no object."""
    size, image = len(image), image.copy()
    for _ in range(rng.integers(0, 8)):
        start, end = rng.integers(0, size, size=(2, 2)).tolist()
        thickness = int(rng.integers(1, max(size // 40, 2), endpoint=True))
        cv2.line(image, start, end, rng.integers(0, 256, size=3).tolist(), thickness, cv2.LINE_AA)
    return image


def _as_pixels(image: np.ndarray) -> np.ndarray:
    return image.clip(0, 255).round().astype(np.uint8)
