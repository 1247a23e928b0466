"""Draws which anchors answer for which object: one panel of the paper's Fig. 3."""

from __future__ import annotations

import cv2
import numpy as np

from otadet.analysis.assigned import AssignedImage, Grid, RuleResult
from otadet.visualize.canvas import pixel_corners, resized
from otadet.visualize.labels import place_labels
from otadet.visualize.palette import BLACK, WHITE, Color, distinct_color, text_color
from otadet.visualize.text import load_font

SUBPIXEL = 4
"""Bits of OpenCV's coordinates that are fractions of a pixel."""
NUMBERED_FROM, ROOM_FOR_NUMBER = 400, 40
"""Boxes are numbered only in panels whose longer side has NUMBERED_FROM pixels, with the square of ROOM_FOR_NUMBER per
box; elsewhere the numbers would hide the picture."""


def draw_assignment(
    assigned: AssignedImage, result: RuleResult, shown: np.ndarray, scale: float, show_mass: bool = False
) -> np.ndarray:
    """The image times `scale` with its boxes, and the anchors `shown` (A,) that the rule made positive.

    show_mass: shade each place by what the boxes transport to it, where the rule has a plan.
    """
    grid = assigned.grid
    canvas = _faded(resized(assigned.image, scale))
    if show_mass and result.mass is not None:
        _shade(canvas, result.mass, grid, shown, scale)
    boxes = assigned.boxes * scale
    line = 2 if len(boxes) <= 40 and _side(canvas) >= NUMBERED_FROM else 1
    for index, (left, top, right, bottom) in enumerate(pixel_corners(boxes, canvas)):
        cv2.rectangle(canvas, (left, top), (right, bottom), distinct_color(index), line, cv2.LINE_AA)
    _draw_dots(canvas, result, grid, shown, scale)
    if max(canvas.shape) >= NUMBERED_FROM and _side(canvas) >= ROOM_FOR_NUMBER * len(boxes) ** 0.5:
        _number_boxes(canvas, boxes)
    return canvas


def draw_dot(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color | None, ambiguous: bool) -> None:
    """A positive in the colour of its box; ambiguous ones have a black ring, which is empty without a colour.

    center: x, y in pixels. White around the black ring keeps it visible on dark ground.
    """
    edge = max(1.0, 0.28 * radius)
    if color is None:
        line = max(1, round(0.9 * edge))
        _ring(canvas, center, radius, line + 2, WHITE)
        _ring(canvas, center, radius, line, BLACK)
        return
    if ambiguous:
        _disc(canvas, center, radius + 1.8 * edge, WHITE)
    _disc(canvas, center, radius + edge, BLACK if ambiguous else WHITE)
    _disc(canvas, center, radius, color)


def _side(canvas: np.ndarray) -> float:
    """Pixels: the root of the area, so that a tall panel counts as much as a square one."""
    return float(np.sqrt(canvas.shape[0] * canvas.shape[1]))


def _faded(image: np.ndarray) -> np.ndarray:
    """Paler and greyer, so that the colours of the boxes are not taken for those of the photograph."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, 0.2, grey, 0.4, 0.4 * 255)


def _draw_dots(canvas: np.ndarray, result: RuleResult, grid: Grid, shown: np.ndarray, scale: float) -> None:
    finest = grid.strides[shown].min()
    # Dots that just do not touch, unless they would be too small to see, which in a small panel is a smaller size.
    smallest = np.clip(0.28 * finest * scale, np.clip(_side(canvas) / 300, 1.4, 2.5), 7.5)
    # Coarser levels have larger dots, and go below.
    for anchor in np.flatnonzero(shown & ((result.gt_index >= 0) | result.ambiguous))[::-1]:
        box = int(result.gt_index[anchor])
        radius = smallest * (1 + 0.3 * np.log2(grid.strides[anchor] / finest))
        color = distinct_color(box) if box >= 0 else None
        draw_dot(canvas, grid.points[anchor] * scale, radius, color, bool(result.ambiguous[anchor]))


def _disc(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color) -> None:
    x, y = np.round(center * 2**SUBPIXEL).astype(int).tolist()
    cv2.circle(canvas, (x, y), round(radius * 2**SUBPIXEL), color, -1, cv2.LINE_AA, SUBPIXEL)


def _ring(canvas: np.ndarray, center: np.ndarray, radius: float, line: int, color: Color) -> None:
    x, y = np.round(center * 2**SUBPIXEL).astype(int).tolist()
    cv2.circle(canvas, (x, y), round(radius * 2**SUBPIXEL), color, line, cv2.LINE_AA, SUBPIXEL)


def _shade(canvas: np.ndarray, mass: np.ndarray, grid: Grid, shown: np.ndarray, scale: float) -> None:
    """Tint each place with the colours of the boxes that transport labels to it, in proportion."""
    colors = np.array([distinct_color(index) for index in range(len(mass))], np.float32)
    size = canvas.shape[1], canvas.shape[0]
    opacity = np.zeros(canvas.shape[:2], np.float32)
    tint = np.zeros(canvas.shape, np.float32)
    for level in sorted(set(grid.level[shown].tolist())):
        height, width = grid.level_sizes[level]
        of_points = mass[:, grid.level == level].reshape(len(mass), -1, grid.per_location).sum(2)
        cells = of_points.T.astype(np.float32)
        mixed = np.dstack((cells.sum(1).reshape(height, width), (cells @ colors).reshape(height, width, 3)))
        # Bilinear between the points: the grid may reach past the image, whose padding it covers.
        stride = float(grid.strides[grid.level == level][0])
        origin = grid.points[grid.level == level][0]
        to_grid = np.array(
            [[1 / (stride * scale), 0, -origin[0] / stride], [0, 1 / (stride * scale), -origin[1] / stride]]
        )
        layer = cv2.warpAffine(mixed, to_grid, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        tint += layer[..., 1:]
        opacity += layer[..., 0]
    tint /= np.maximum(opacity, 1e-6)[..., None]
    alpha = 0.65 * opacity.clip(0, 1)[..., None]
    canvas[:] = np.round(alpha * tint + (1 - alpha) * canvas)


def _number_boxes(canvas: np.ndarray, boxes: np.ndarray) -> None:
    font = load_font(round(np.clip(_side(canvas) / 45, 12, 17 if len(boxes) <= 40 else 14)))
    texts = [[(str(index), font.width(str(index)) + 6)] for index in range(len(boxes))]
    for index, place in enumerate(place_labels(boxes, texts, font.line_height, canvas.shape[:2])):
        if place is not None:
            color = distinct_color(index)
            canvas[place.y : place.y + place.height, place.x : place.x + place.width] = color
            font.draw(canvas, place.text, place.x + 3, place.y, text_color(color))
