"""Boxes, legends and files: what the pictures of this package are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from otadet.errors import UserError
from otadet.files import atomic_write
from otadet.visualize.palette import BLACK, WHITE, Color
from otadet.visualize.text import Font, load_font

HATCHED: tuple[Color, str] = (128, 128, 128), "hatched: ignored"
"""The colour of what `draw_hatched` draws, and its words for a legend."""


@dataclass(frozen=True)
class Style:
    """Sizes of lines and text, in pixels."""

    line: int
    font: Font

    @classmethod
    def of(cls, canvas: np.ndarray, crowd: int = 1) -> Style:
        """Sizes that grow with the picture, and shrink a little where it holds a `crowd` of more than 30 boxes."""
        side = max(canvas.shape[:2]) * min(1.0, max(0.7, (30 / max(crowd, 1)) ** 0.25))
        return cls(max(2, round(side / 450)), load_font(max(13, round(side / 60))))


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """A copy of (H, W, 3) uint8 RGB with both sides times `scale`. Raises ValueError for any other array."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"an image must be (H, W, 3) uint8 RGB; this one is {image.shape} {image.dtype}")
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    if size == (image.shape[1], image.shape[0]):
        return np.ascontiguousarray(image).copy()
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def pixel_corners(boxes: np.ndarray, canvas: np.ndarray) -> list[list[int]]:
    """(D, 4) xyxy -> whole pixels inside the canvas, so that a box over the border still shows all four sides."""
    limits = np.array([canvas.shape[1], canvas.shape[0]] * 2) - 1
    return np.round(boxes).clip(0, limits).astype(int).tolist()


def draw_rectangles(canvas: np.ndarray, boxes: np.ndarray, colors: Sequence[Color], line: int) -> None:
    """Draw boxes (D, 4) into the canvas, the first on top."""
    corners = pixel_corners(boxes, canvas)
    # Dark casings below all lines keep a box visible on ground of its own colour.
    casing = canvas.copy()
    for left, top, right, bottom in corners:
        cv2.rectangle(casing, (left, top), (right, bottom), BLACK, line + 2)
    canvas[:] = cv2.addWeighted(casing, 0.6, canvas, 0.4, 0)
    for (left, top, right, bottom), color in reversed(list(zip(corners, colors, strict=True))):
        cv2.rectangle(canvas, (left, top), (right, bottom), color, line)


def draw_hatched(canvas: np.ndarray, boxes: np.ndarray) -> None:
    """Draw what the canvas has of regions (I, 4) as slanted grey lines, within a grey border."""
    limits = np.array([canvas.shape[1], canvas.shape[0]] * 2)
    for x1, y1, x2, y2 in boxes.clip(0, limits).round().astype(int).tolist():
        region = canvas[y1:y2, x1:x2]
        rows, columns = np.ogrid[y1 : y1 + region.shape[0], x1 : x1 + region.shape[1]]
        place = (rows + columns) % 12
        region[place < 3] = HATCHED[0]
        region[place == 3] = WHITE
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), HATCHED[0], 1)


def draw_dashed(canvas: np.ndarray, boxes: np.ndarray, line: int, dash: int) -> None:
    """Draw boxes (G, 4) as dashes, white on a dark casing; `dash` is the length of a dash in pixels."""
    for left, top, right, bottom in pixel_corners(boxes, canvas):
        for color, width in ((BLACK, line + 2), (WHITE, line)):
            for x in range(left, right, 2 * dash):
                for y in (top, bottom):
                    cv2.line(canvas, (x, y), (min(x + dash, right), y), color, width)
            for y in range(top, bottom, 2 * dash):
                for x in (left, right):
                    cv2.line(canvas, (x, y), (x, min(y + dash, bottom)), color, width)


def legend(entries: Sequence[tuple[Color | None, str]], width: int, font: Font) -> np.ndarray:
    """(H, width, 3): a white strip of swatches and texts, in as many lines as they need; no colour is a dashed box."""
    gap, row_height = font.size, round(1.7 * font.size)
    positions, x, row = [], gap, 0
    for _, text in entries:
        entry_width = min(font.size + gap // 2 + font.width(text), width - 2 * gap)
        if x + entry_width > width - gap and x > gap:
            x, row = gap, row + 1
        positions.append((x, gap // 2 + row * row_height))
        x += entry_width + 2 * gap
    strip = np.full((gap // 2 + (row + 1) * row_height, width, 3), 255, np.uint8)
    for (color, text), (x, y) in zip(entries, positions, strict=True):
        left, top = x, y + font.size // 8
        if color is None:
            box = np.array([[left, top, left + font.size, top + font.size]])
            draw_dashed(strip, box, 1, font.size // 5)
        else:
            strip[top : top + font.size, left : left + font.size] = color
        text_left = left + font.size + gap // 2
        font.draw(strip, font.elide(text, width - text_left), text_left, y, BLACK)
    return strip


def check_picture(path: str | Path | None) -> None:
    """Raise `UserError` for a suffix that `write_image` cannot write; None is passed over."""
    if path is not None:
        _picture_suffix(path)


def _picture_suffix(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if not cv2.haveImageWriter(f"picture{suffix}"):
        raise UserError(f"{path}: OpenCV cannot write {suffix or 'a file without suffix'}; use .png or .jpg")
    return suffix


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB in the format of the suffix of `path`, whole or not at all.

    Raises `UserError` for a suffix that OpenCV cannot write.
    """
    suffix = _picture_suffix(path)
    try:
        written, encoded = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]))
    except cv2.error:
        written = False
    if not written:
        raise UserError(f"{path}: OpenCV cannot write it as {suffix}; use .png or .jpg")
    with atomic_write(path) as file:
        file.write(encoded.tobytes())
