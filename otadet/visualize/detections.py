"""Draws detections so that they stay readable in a crowd and in print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from otadet.structures import Detections, GroundTruth
from otadet.visualize.canvas import Style, draw_dashed, draw_rectangles, legend, resized, write_image
from otadet.visualize.labels import place_labels
from otadet.visualize.palette import WHITE, Color, distinct_color, text_color
from otadet.visualize.text import Font, load_font

SHEET_WIDTH, SHEET_GAP = 2000, 10
ROW_HEIGHTS = 320, 640
"""The lowest and the highest row of a sheet, pixels; a row that one wide image fills may be lower."""


def draw_detections(
    image: np.ndarray, detections: Detections, class_names: Sequence[str], *, min_side: int = 1000
) -> np.ndarray:
    """The image with its detections: boxes in the colour of their class, labelled with name and score.

    Labels do not overlap each other and hide little of any object: where there is no room a label shrinks to the score
    or is left out, and a legend below the image then names the colours.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        detections: boxes in pixels of `image`.
        class_names: name of each label.
        min_side: an image whose longer side is shorter than this is enlarged first, so that text fits.

    Returns:
        (H', W', 3) uint8 RGB; H' and W' are larger than H and W where the image was enlarged or a legend added.

    Raises:
        ValueError: an image of another type or shape, or a label without a name.
    """
    scale = max(1.0, min_side / max(image.shape[:2]))
    canvas = resized(image, scale)
    style = Style.of(canvas, len(detections))
    all_named = _draw(canvas, detections, scale, class_names, style)
    if all_named:
        return canvas
    counts = sorted(Counter(detections.labels.tolist()).items())
    entries = [(distinct_color(label), f"{class_names[label]}  {count}") for label, count in counts]
    return np.vstack((canvas, legend(entries, canvas.shape[1], style.font)))


def prediction_sheet(
    images: Sequence[np.ndarray],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    out: str | Path,
    truths: Sequence[GroundTruth] | None = None,
) -> None:
    """Write a contact sheet of images with their detections to `out` (PNG or JPEG by its suffix).

    Args:
        images: (H, W, 3) uint8 RGB each, of any sizes.
        detections: one per image, in its pixels.
        class_names: name of each label.
        truths: one per image, in its pixels; drawn as thin dashed white boxes below the detections.

    Raises:
        ValueError: no images, an image of another type or shape, or a label without a name.
    """
    if not len(images):
        raise ValueError("a sheet needs at least one image")
    strips = []
    for row in _layout([image.shape[1] / image.shape[0] for image in images]):
        cells = []
        for index in row.indices:
            scale = row.height / images[index].shape[0]
            cell = resized(images[index], scale)
            truth = None if truths is None else truths[index]
            _draw(cell, detections[index], scale, class_names, Style(2, load_font(14)), truth)
            cells.append(cell)
        strips.append(_in_a_row(cells))
    labels = sorted({label for found in detections for label in found.labels.tolist()})
    entries: list[tuple[Color | None, str]] = [(distinct_color(label), class_names[label]) for label in labels]
    if truths is not None:
        entries.append((None, "ground truth"))
    width = max(strip.shape[1] for strip in strips)
    if entries:
        strips.append(legend(entries, width, load_font(22)))
    write_image(out, np.vstack([_widened(strip, width) for strip in strips]))


def _draw(
    canvas: np.ndarray,
    detections: Detections,
    scale: float,
    class_names: Sequence[str],
    style: Style,
    truth: GroundTruth | None = None,
) -> bool:
    """Draw boxes and labels into `canvas`, an image times `scale`; returns what `_draw_labels` does."""
    labels = detections.labels.tolist()
    if labels and not 0 <= min(labels) <= max(labels) < len(class_names):
        raise ValueError(f"labels {min(labels)} to {max(labels)} do not fit {len(class_names)} class names")
    limits = np.array([canvas.shape[1], canvas.shape[0]] * 2)
    boxes = (detections.boxes.cpu().numpy() * scale).clip(0, limits)
    if truth is not None:
        draw_dashed(canvas, truth.boxes.cpu().numpy() * scale, 1, 3 * style.line)
    draw_rectangles(canvas, boxes, [distinct_color(label) for label in labels], style.line)

    return _draw_labels(canvas, boxes, detections, class_names, style.font)


def _draw_labels(
    canvas: np.ndarray, boxes: np.ndarray, detections: Detections, class_names: Sequence[str], font: Font
) -> bool:
    """Label boxes (D, 4) that are in pixels of the canvas; returns whether every one shows its whole name and score."""
    labels, scores = detections.labels.tolist(), [f"{score:.2f}" for score in detections.scores.tolist()]
    margin = max(2, font.size // 4)
    texts = []
    for label, score in zip(labels, scores, strict=True):
        name = font.elide(class_names[label], canvas.shape[1] // 4)
        choices = f"{name} {score}", score.removeprefix("0")
        texts.append([(text, font.width(text) + 2 * margin) for text in choices])
    placed = place_labels(boxes, texts, font.line_height, canvas.shape[:2])
    for label, place in zip(labels, placed, strict=True):
        if place is not None:
            color = distinct_color(label)
            canvas[place.y : place.y + place.height, place.x : place.x + place.width] = color
            font.draw(canvas, place.text, place.x + margin, place.y, text_color(color))
    shown = [None if place is None else place.text for place in placed]
    return shown == [f"{class_names[label]} {score}" for label, score in zip(labels, scores, strict=True)]


@dataclass(frozen=True)
class _Row:
    indices: list[int]
    height: int


def _layout(aspects: Sequence[float]) -> list[_Row]:
    """Rows of images of equal height that fill the sheet's width, so that portraits and landscapes leave no holes."""
    lowest, highest = ROW_HEIGHTS
    wanted = np.clip(SHEET_WIDTH * np.sqrt(0.7 / sum(aspects)), lowest, highest)
    groups: list[list[int]] = [[]]
    filled = 0.0
    for index, aspect in enumerate(aspects):
        overflow = filled + aspect * wanted - SHEET_WIDTH
        # The row is full when it ends closer to the border without this image than with it.
        if groups[-1] and overflow > SHEET_WIDTH - filled:
            groups.append([])
            filled = 0.0
        groups[-1].append(index)
        filled += aspect * wanted
    rows: list[_Row] = []
    for group in groups:
        height = (SHEET_WIDTH - SHEET_GAP * (len(group) + 1)) / sum(aspects[index] for index in group)
        rows.append(_Row(group, max(1, int(min(height, highest)))))
    if len(rows) > 1:
        rows[-1] = _Row(groups[-1], min(rows[-1].height, rows[-2].height))
    return rows


def _in_a_row(cells: Sequence[np.ndarray]) -> np.ndarray:
    """Cells of equal height, side by side on white."""
    framed = [cv2.copyMakeBorder(cell, SHEET_GAP, 0, SHEET_GAP, 0, cv2.BORDER_CONSTANT, value=WHITE) for cell in cells]
    return np.hstack(framed)


def _widened(strip: np.ndarray, width: int) -> np.ndarray:
    return cv2.copyMakeBorder(strip, 0, 0, 0, width + SHEET_GAP - strip.shape[1], cv2.BORDER_CONSTANT, value=WHITE)
