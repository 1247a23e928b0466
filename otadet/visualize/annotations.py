"""Draws annotated images as they are, right or wrong: each with what is to be looked at, in a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from otadet.visualize.canvas import HATCHED, draw_dashed, draw_hatched, draw_rectangles, resized, write_image
from otadet.visualize.palette import BLACK, WHITE, Color, distinct_color
from otadet.visualize.sheet import in_a_row, rows_of, stacked
from otadet.visualize.text import load_font

_LINE, _TEXT, _DASH, _MARGIN = 2, 16, 6, 4
_LEAST_SEEN = 24
"""Pixels of the sheet; a marked box that is smaller gets a ring."""
_NO_PICTURE = (225, 225, 225)


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One picture of a sheet."""

    image: np.ndarray | None
    """(H, W, 3) uint8 RGB; None where it cannot be read."""
    boxes: np.ndarray
    """(G, 4) xyxy in pixels of the image, of any shape and anywhere, but finite."""
    labels: np.ndarray
    """(G,)."""
    ignored: np.ndarray
    """(G,) bool: not an object, but a region that neither counts for nor against."""
    marked: np.ndarray
    """(G,) bool: what the picture is shown for."""
    caption: str
    """A line above it; of several, what is more important comes first."""
    file: str
    """A second line."""


def annotation_sheet(pictures: Sequence[AnnotatedImage], class_names: Sequence[str], out: str | Path) -> None:
    """Write a contact sheet of annotated images to `out` (PNG or JPEG by its suffix).

    Boxes are drawn in the colour of their class, marked ones with white dashes around them, ignored regions hatched.
    Raises `ValueError` for no picture.
    """
    if not len(pictures):
        raise ValueError("a sheet needs at least one picture")
    images = [_picture(picture) for picture in pictures]
    strips = []
    for row in rows_of([image.shape[1] / image.shape[0] for image in images]):
        cells = [_cell(pictures[index], images[index], row.height / images[index].shape[0]) for index in row.indices]
        strips.append(in_a_row(cells))
    labels = sorted({label for picture in pictures for label in picture.labels[~picture.ignored].tolist()})
    entries: list[tuple[Color | None, str]] = [(distinct_color(label), class_names[label]) for label in labels]
    entries += [HATCHED] if any(picture.ignored.any() for picture in pictures) else []
    marks: list[tuple[Color | None, str]] = (
        [(None, "what was found")] if any(picture.marked.any() for picture in pictures) else []
    )
    write_image(out, stacked(strips, [*entries, *marks]))


def _picture(picture: AnnotatedImage) -> np.ndarray:
    return np.full((120, 200, 3), _NO_PICTURE, np.uint8) if picture.image is None else picture.image


def _cell(picture: AnnotatedImage, image: np.ndarray, scale: float) -> np.ndarray:
    """The image times `scale` with its boxes, below its two lines of text."""
    canvas = resized(image, scale)
    boxes = picture.boxes * scale
    draw_hatched(canvas, boxes[picture.ignored])
    order = np.argsort(~picture.marked, kind="stable")
    order = order[~picture.ignored[order]]
    draw_rectangles(canvas, boxes[order], [distinct_color(label) for label in picture.labels[order].tolist()], _LINE)
    marked = boxes[picture.marked]
    draw_dashed(canvas, marked + np.array((-_MARGIN, -_MARGIN, _MARGIN, _MARGIN)), 1, _DASH)
    for left, top, right, bottom in marked:
        if max(right - left, bottom - top) < _LEAST_SEEN:
            limits = np.array(canvas.shape[1::-1]) - 1
            x, y = np.clip(((left + right) / 2, (top + bottom) / 2), 0, limits).round().astype(int).tolist()
            for color, width in ((BLACK, 4), (WHITE, 2)):
                cv2.circle(canvas, (x, y), _LEAST_SEEN, color, width, cv2.LINE_AA)
    font = load_font(_TEXT)
    strip = np.full((2 * font.line_height, canvas.shape[1], 3), WHITE, np.uint8)
    for line, text in enumerate((picture.caption, picture.file)):
        font.draw(strip, font.elide(text, canvas.shape[1]), 0, line * font.line_height, BLACK)
    return np.vstack((strip, canvas))
