"""Contact sheets: images of any sizes in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from otadet.visualize.canvas import legend
from otadet.visualize.palette import WHITE, Color
from otadet.visualize.text import load_font

SHEET_WIDTH, SHEET_GAP = 2000, 10
ROW_HEIGHTS = 320, 640
"""The lowest and the highest row of a sheet, pixels; a row that one wide image fills may be lower."""


@dataclass(frozen=True)
class Row:
    """Images side by side."""

    indices: list[int]
    height: int
    """Pixels."""


def rows_of(aspects: Sequence[float]) -> list[Row]:
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
    rows: list[Row] = []
    for group in groups:
        height = (SHEET_WIDTH - SHEET_GAP * (len(group) + 1)) / sum(aspects[index] for index in group)
        rows.append(Row(group, max(1, int(min(height, highest)))))
    if len(rows) > 1:
        rows[-1] = Row(groups[-1], min(rows[-1].height, rows[-2].height))
    return rows


def in_a_row(cells: Sequence[np.ndarray]) -> np.ndarray:
    """Cells of equal height, side by side on white."""
    framed = [cv2.copyMakeBorder(cell, SHEET_GAP, 0, SHEET_GAP, 0, cv2.BORDER_CONSTANT, value=WHITE) for cell in cells]
    return np.hstack(framed)


def stacked(strips: Sequence[np.ndarray], entries: Sequence[tuple[Color | None, str]]) -> np.ndarray:
    """Strips below each other, and a `legend` of `entries` where there are any, as wide as the widest."""
    width = max(strip.shape[1] for strip in strips)
    below = [legend(entries, width, load_font(22))] if entries else []
    return np.vstack([_widened(strip, width) for strip in (*strips, *below)])


def _widened(strip: np.ndarray, width: int) -> np.ndarray:
    return cv2.copyMakeBorder(strip, 0, 0, 0, width + SHEET_GAP - strip.shape[1], cv2.BORDER_CONSTANT, value=WHITE)
