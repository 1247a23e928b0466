"""Draws a batch as a network gets it in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from otadet.structures import GroundTruth
from otadet.visualize.canvas import HATCHED, draw_hatched, draw_rectangles, resized
from otadet.visualize.detections import draw_labels
from otadet.visualize.palette import BLACK, WHITE, Color, distinct_color
from otadet.visualize.sheet import in_a_row, rows_of, stacked
from otadet.visualize.text import Font, load_font


@dataclass(frozen=True)
class BatchImage:
    """One image of a batch, its padding included."""

    name: str
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    truth: GroundTruth


def batch_sheet(images: Sequence[BatchImage], class_names: Sequence[str]) -> np.ndarray:
    """Images with their boxes, labelled, and their ignored regions, hatched: (H', W', 3) uint8 RGB.

    A thin line is around each image, so that its padding is told from the sheet. Needs one image at least.
    """
    strips = []
    for row in rows_of([each.image.shape[1] / each.image.shape[0] for each in images]):
        strips.append(in_a_row([_cell(images[index], class_names, row.height) for index in row.indices]))
    labels = sorted({label for each in images for label in each.truth.labels.tolist()})
    entries: list[tuple[Color | None, str]] = [(distinct_color(label), class_names[label]) for label in labels]
    if any(each.truth.ignored is not None and len(each.truth.ignored) for each in images):
        entries.append(HATCHED)
    return stacked(strips, entries)


def _cell(shown: BatchImage, class_names: Sequence[str], height: int) -> np.ndarray:
    scale = height / shown.image.shape[0]
    canvas, font = resized(shown.image, scale), load_font(14)
    if shown.truth.ignored is not None:
        draw_hatched(canvas, shown.truth.ignored.cpu().numpy() * scale)
    labels, boxes = shown.truth.labels.tolist(), shown.truth.boxes.cpu().numpy() * scale
    draw_rectangles(canvas, boxes, [distinct_color(label) for label in labels], 2)
    names = [(font.elide(class_names[label], canvas.shape[1] // 3),) for label in labels]
    draw_labels(canvas, boxes, labels, names, font)
    framed = cv2.copyMakeBorder(canvas, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=BLACK)
    return np.vstack((framed, _caption(shown.name, framed.shape[1], font)))


def _caption(text: str, width: int, font: Font) -> np.ndarray:
    strip = np.full((font.line_height, width, 3), WHITE, np.uint8)
    font.draw(strip, font.elide(text, width), 0, 0, BLACK)
    return strip
