"""Draws detections so that they stay readable in a crowd and in print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from otadet.structures import Detections, GroundTruth
from otadet.visualize.canvas import Style, draw_dashed, draw_rectangles, legend, resized, write_image
from otadet.visualize.labels import place_labels
from otadet.visualize.palette import Color, distinct_color, text_color
from otadet.visualize.sheet import in_a_row, rows_of, stacked
from otadet.visualize.text import Font, load_font


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
    for row in rows_of([image.shape[1] / image.shape[0] for image in images]):
        cells = []
        for index in row.indices:
            scale = row.height / images[index].shape[0]
            cell = resized(images[index], scale)
            truth = None if truths is None else truths[index]
            _draw(cell, detections[index], scale, class_names, Style(2, load_font(14)), truth)
            cells.append(cell)
        strips.append(in_a_row(cells))
    labels = sorted({label for found in detections for label in found.labels.tolist()})
    entries: list[tuple[Color | None, str]] = [(distinct_color(label), class_names[label]) for label in labels]
    if truths is not None:
        entries.append((None, "ground truth"))
    write_image(out, stacked(strips, entries))


def _draw(
    canvas: np.ndarray,
    detections: Detections,
    scale: float,
    class_names: Sequence[str],
    style: Style,
    truth: GroundTruth | None = None,
) -> bool:
    """Draw boxes and labels into `canvas`, an image times `scale`; returns whether every text is whole."""
    labels = detections.labels.tolist()
    if labels and not 0 <= min(labels) <= max(labels) < len(class_names):
        raise ValueError(f"labels {min(labels)} to {max(labels)} do not fit {len(class_names)} class names")
    limits = np.array([canvas.shape[1], canvas.shape[0]] * 2)
    boxes = (detections.boxes.cpu().numpy() * scale).clip(0, limits)
    if truth is not None:
        draw_dashed(canvas, truth.boxes.cpu().numpy() * scale, 1, 3 * style.line)
    draw_rectangles(canvas, boxes, [distinct_color(label) for label in labels], style.line)

    scores = [f"{score:.2f}" for score in detections.scores.tolist()]
    names = [style.font.elide(class_names[label], canvas.shape[1] // 4) for label in labels]
    choices = [(f"{name} {score}", score.removeprefix("0")) for name, score in zip(names, scores, strict=True)]
    shown = draw_labels(canvas, boxes, labels, choices, style.font)
    return shown == [f"{class_names[label]} {score}" for label, score in zip(labels, scores, strict=True)]


def draw_labels(
    canvas: np.ndarray, boxes: np.ndarray, labels: Sequence[int], choices: Sequence[Sequence[str]], font: Font
) -> list[str | None]:
    """Label boxes (D, 4), in pixels of the canvas, in the colours of their classes, as far as there is room.

    choices: texts of each box, the preferred one first. Returns which of them each box shows; None: there was no room.
    """
    margin = max(2, font.size // 4)
    texts = [[(text, font.width(text) + 2 * margin) for text in of_box] for of_box in choices]
    placed = place_labels(boxes, texts, font.line_height, canvas.shape[:2])
    for label, place in zip(labels, placed, strict=True):
        if place is not None:
            color = distinct_color(label)
            canvas[place.y : place.y + place.height, place.x : place.x + place.width] = color
            font.draw(canvas, place.text, place.x + margin, place.y, text_color(color))
    return [None if place is None else place.text for place in placed]
