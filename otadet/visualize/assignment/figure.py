"""Several rules side by side on one image, and several images on one sheet (the paper's Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from otadet.analysis.assigned import AssignedImage, Grid, RuleResult
from otadet.integers import ceil_div
from otadet.visualize.assignment.legend import ALL, BEST, MARGIN, caption, key_strip, table_strip, title_strip
from otadet.visualize.assignment.panel import draw_assignment
from otadet.visualize.palette import WHITE

FIGURE_WIDTH, LEGEND_WIDTH, TITLE_WIDTH, PANEL_HEIGHT = 2400, 900, 240, 1200
"""Pixels: of the whole; of the legend and of a panel's title at least; of a panel at most."""


def assignment_figure(assigned: AssignedImage, level: int | str = BEST, show_mass: bool = False) -> np.ndarray:
    """A panel for each rule, and below a table of the number of positives of each box: (H', W', 3) uint8 RGB.

    Boxes and dots of one colour belong together. Ambiguous anchors have a black ring, which is empty for those that
    ended up as background. level: `BEST` shows the level on which the rule has the most positives, `ALL` every level
    (larger dots for coarser ones), a number that one, the finest being 0. show_mass: shade each place by what the boxes
    transport to it, for the rules that have a plan.
    """
    results = assigned.results
    wide = assigned.image.shape[1] >= 3 * assigned.image.shape[0]
    columns = 1 if wide else _columns(len(results))
    # A single panel does not become huge.
    width = _panel_width(1 if wide else max(columns, 2))
    height = PANEL_HEIGHT if columns == len(results) else 0.75 * PANEL_HEIGHT
    scale = _scale(assigned, width, max(height, width))
    cell = max(TITLE_WIDTH, round(assigned.image.shape[1] * scale))
    rows = [
        _row(assigned, results[start : start + columns], level, scale, cell, show_mass)
        for start in range(0, len(results), columns)
    ]
    width = max(LEGEND_WIDTH, rows[0].shape[1])
    legend = key_strip(width, level, show_mass), table_strip(assigned, width)
    return _stacked([*rows, *legend])


def assignment_sheet(
    images: Sequence[AssignedImage], names: Sequence[str], level: int | str = BEST, show_mass: bool = False
) -> np.ndarray:
    """A named row for each image, a column for each rule: (H', W', 3) uint8 RGB. All images have the same rules."""
    # As if there were four rules at least, so that a sheet of many images stays a picture that viewers open.
    cell = _panel_width(max(len(images[0].results), 4))
    width = max(LEGEND_WIDTH, len(images[0].results) * (cell + MARGIN) + MARGIN)
    strips = [key_strip(width, level, show_mass)]
    for assigned, name in zip(images, names, strict=True):
        # A tall image would leave most of its row empty.
        scale = _scale(assigned, cell, cell)
        strips += [caption(name, width), _row(assigned, assigned.results, level, scale, cell, show_mass)]
    return _stacked(strips)


def _columns(count: int) -> int:
    """Panels in a row: at most four, and rows of about the same length."""
    return 2 if count == 4 else ceil_div(count, ceil_div(count, 4))


def _panel_width(columns: int) -> int:
    """So that the panels fill the figure."""
    return (FIGURE_WIDTH - MARGIN) // columns - MARGIN


def _scale(assigned: AssignedImage, width: float, height: float) -> float:
    """To the largest size within both sides."""
    return min(width / assigned.image.shape[1], height / assigned.image.shape[0])


def _shown(result: RuleResult, grid: Grid, level: int | str) -> np.ndarray:
    """(A,) bool: anchors of the levels to draw."""
    if level == ALL:
        return np.ones(len(grid.strides), bool)
    return grid.level == (result.best_level(grid) if level == BEST else level)


def _row(
    assigned: AssignedImage,
    results: Sequence[RuleResult],
    level: int | str,
    scale: float,
    cell: int,
    show_mass: bool,
) -> np.ndarray:
    """A panel for each result, `cell` pixels wide, below its title."""
    shown = [_shown(result, assigned.grid, level) for result in results]
    panels = [
        draw_assignment(assigned, result, at, scale, show_mass) for result, at in zip(results, shown, strict=True)
    ]
    titles = [
        title_strip(result.rule, _details(result, assigned.grid, at), cell)
        for result, at in zip(results, shown, strict=True)
    ]
    # Titles of several lines in one panel must not shift its picture against the others'.
    tallest = max(title.shape[0] for title in titles)
    framed = [
        np.vstack((_padded(title, tallest, cell), _padded(panel, panel.shape[0], cell)))
        for title, panel in zip(titles, panels, strict=True)
    ]
    return np.hstack([cv2.copyMakeBorder(p, MARGIN, 0, MARGIN, 0, cv2.BORDER_CONSTANT, value=WHITE) for p in framed])


def _details(result: RuleResult, grid: Grid, shown: np.ndarray) -> str:
    positive = result.gt_index >= 0
    levels = sorted(set(grid.level[shown].tolist()))
    where = "all levels" if len(levels) > 1 else grid.name(levels[0])
    # A hard space keeps the number with its word where the line is broken.
    ambiguous = f"{result.ambiguous[shown].sum()}\u00a0ambiguous"
    return f"{where}: {positive[shown].sum()} of {positive.sum()} positives, {ambiguous}"


def _stacked(strips: Sequence[np.ndarray]) -> np.ndarray:
    width = max(strip.shape[1] for strip in strips) + MARGIN
    return np.vstack([_padded(strip, strip.shape[0], width) for strip in strips])


def _padded(strip: np.ndarray, height: int, width: int) -> np.ndarray:
    """White to the right and below."""
    below, right = max(0, height - strip.shape[0]), max(0, width - strip.shape[1])
    return cv2.copyMakeBorder(strip, 0, below, 0, right, cv2.BORDER_CONSTANT, value=WHITE)
