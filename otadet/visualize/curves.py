"""The curves of a training, from metrics.csv to a PNG."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from otadet.errors import UserError
from otadet.visualize.canvas import write_image
from otadet.visualize.palette import BLACK, Color, distinct_color
from otadet.visualize.text import load_font

PANEL_SIZE = 760, 560
"""Width and height of one panel in pixels; printed at 300 dpi, three of them fill a page's width."""
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 100, 36, 60, 70
GRID, AXIS = (225, 225, 225), (90, 90, 90)
ACCURACY = ("AP", "AP50", "AP75")
CROWD = ("MR", "AP", "recall", "JI")
"""Where there is a column MR, of an evaluation on CrowdHuman."""
NOT_A_LOSS = ("iteration", "epoch", "lr", "iterations_per_second", "data_ms", "compute_ms", *CROWD)


@dataclass(frozen=True)
class Curve:
    """Points of one name; those without a value are left out beforehand."""

    name: str
    """In the key."""
    x: np.ndarray
    """(number of points,) iterations."""
    y: np.ndarray
    """(number of points,) finite."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    curves: list[Curve] = field(default_factory=list)
    smooth: bool = False
    """Draw the values pale and their running median on top."""
    marks: bool = False
    """Draw a dot at each point."""


def plot_curves(csv_path: str | Path, out: str | Path) -> None:
    """Draw the loss terms, the learning rate and the scores over iterations into one picture, a panel each.

    csv_path: `metrics.csv` of a run: a column `iteration`, and any of `lr`, the scores of `ACCURACY` or `CROWD`, and
    loss terms; a cell may be blank. A score below 0 (COCO's "no objects") is left out, and so is a panel without any
    value.

    Raises `UserError` for a file that is missing, is not such a table, or holds no values.
    """
    columns = _read_columns(Path(csv_path))
    losses = [name for name in columns if name not in NOT_A_LOSS and not name.startswith(("AP", "AR"))]
    scores = CROWD if "MR" in columns else ACCURACY
    panels = [
        Panel("loss", _curves(columns, losses), smooth=True),
        Panel("learning rate", _curves(columns, ["lr"])),
        Panel(f"{scores[0]} on the validation set", _curves(columns, scores, lowest=0.0), marks=True),
    ]
    panels = [panel for panel in panels if panel.curves]
    if not panels:
        raise UserError(f"{csv_path}: holds no values to draw; has the run logged anything yet?")
    write_image(out, np.hstack([_draw_panel(panel, max(1.0, columns["iteration"].max())) for panel in panels]))


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """Each column as float64, NaN where a cell is blank."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = list(rows[0]) if rows else []
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the metrics.csv of a run") from None
    except (ValueError, TypeError, OSError, csv.Error) as error:
        raise UserError(f"{path}: not a table of numbers ({error})") from error
    if rows and "iteration" not in columns:
        raise UserError(f"{path}: has no column iteration; give the metrics.csv of a run")
    return columns


def _curves(columns: dict[str, np.ndarray], names: Sequence[str], lowest: float = -math.inf) -> list[Curve]:
    curves = []
    for name in names:
        values = columns.get(name, np.array([]))
        usable = np.isfinite(values) & (values >= lowest)
        if usable.any():
            curves.append(Curve(name, columns["iteration"][usable], values[usable]))
    return curves


def _draw_panel(panel: Panel, last: float) -> np.ndarray:
    width, height = PANEL_SIZE
    canvas = np.full((height, width, 3), 255, np.uint8)
    shown = [_running_median(curve) if panel.smooth else curve for curve in panel.curves]
    x_ticks = [tick for tick in nice_ticks(0, last) if tick <= last]
    # Early spikes of single iterations are cut off rather than let them flatten all the rest.
    top = max(curve.y.max() for curve in shown) * (1.1 if panel.smooth else 1.0)
    y_ticks = nice_ticks(min(0.0, *(curve.y.min() for curve in shown)), top)
    area = _Area(0.0, last, y_ticks[0], y_ticks[-1])
    _draw_axes(canvas, panel.title, area, x_ticks, y_ticks)
    for index, (curve, smoothed) in enumerate(zip(panel.curves, shown, strict=True)):
        color = distinct_color(index)
        if panel.smooth:
            area.draw_line(canvas, curve, _pale(color), 1)
        area.draw_line(canvas, smoothed, color, 3)
        if panel.marks or len(smoothed.x) == 1:
            area.draw_dots(canvas, smoothed, color)
    if len(panel.curves) > 1:
        _draw_key(canvas, [curve.name for curve in panel.curves])
    return canvas


@dataclass(frozen=True)
class _Area:
    """The plotted part of a panel: from values to pixels."""

    left: float
    right: float
    bottom: float
    top: float

    def x(self, values: np.ndarray | float) -> np.ndarray:
        room = PANEL_SIZE[0] - MARGIN_LEFT - MARGIN_RIGHT
        return MARGIN_LEFT + (np.asarray(values) - self.left) / (self.right - self.left) * room

    def y(self, values: np.ndarray | float) -> np.ndarray:
        room = PANEL_SIZE[1] - MARGIN_TOP - MARGIN_BOTTOM
        share = (np.asarray(values) - self.bottom) / (self.top - self.bottom)
        return PANEL_SIZE[1] - MARGIN_BOTTOM - share.clip(0, 1) * room

    def draw_line(self, canvas: np.ndarray, curve: Curve, color: Color, thickness: int) -> None:
        # The last four bits are fractions of a pixel.
        points = np.round(np.stack((self.x(curve.x), self.y(curve.y)), axis=1) * 16).astype(np.int32)
        cv2.polylines(canvas, [points], False, color, thickness, cv2.LINE_AA, shift=4)

    def draw_dots(self, canvas: np.ndarray, curve: Curve, color: Color) -> None:
        for x, y in zip(self.x(curve.x), self.y(curve.y), strict=True):
            cv2.circle(canvas, (round(16 * x), round(16 * y)), 5 * 16, color, -1, cv2.LINE_AA, shift=4)


def _draw_axes(canvas: np.ndarray, title: str, area: _Area, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> None:
    small, large = load_font(20), load_font(24)
    left, right = MARGIN_LEFT, PANEL_SIZE[0] - MARGIN_RIGHT
    bottom = PANEL_SIZE[1] - MARGIN_BOTTOM
    for tick, text in zip(y_ticks, tick_texts(y_ticks), strict=True):
        y = round(float(area.y(tick)))
        cv2.line(canvas, (left, y), (right, y), GRID, 1)
        small.draw(canvas, text, left - 10 - small.width(text), y - small.line_height // 2, AXIS)
    for tick, text in zip(x_ticks, tick_texts(x_ticks), strict=True):
        x = round(float(area.x(tick)))
        cv2.line(canvas, (x, bottom), (x, bottom + 6), AXIS, 1)
        small.draw(canvas, text, min(x - small.width(text) // 2, PANEL_SIZE[0] - small.width(text)), bottom + 8, AXIS)
    cv2.line(canvas, (left, bottom), (right, bottom), AXIS, 1)
    large.draw(canvas, title, left, (MARGIN_TOP - large.line_height) // 2, BLACK)
    middle = (left + right - small.width("iteration")) // 2
    small.draw(canvas, "iteration", middle, bottom + 8 + small.line_height, AXIS)


def _draw_key(canvas: np.ndarray, names: Sequence[str]) -> None:
    """Names and colours of several curves, right of the title, where they cannot hide a curve."""
    font = load_font(20)
    x, middle = PANEL_SIZE[0] - MARGIN_RIGHT, MARGIN_TOP // 2
    for index, name in reversed(list(enumerate(names))):
        x -= font.width(name)
        font.draw(canvas, name, x, middle - font.line_height // 2, BLACK)
        cv2.line(canvas, (x - 28, middle), (x - 8, middle), distinct_color(index), 4)
        x -= 48


def _running_median(curve: Curve) -> Curve:
    """`curve` with each value replaced by the median of the fifteenth of the curve around it."""
    half = len(curve.y) // 30
    if half == 0:
        return curve
    padded = np.pad(curve.y, half, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return Curve(curve.name, curve.x, np.median(windows, axis=1))


def _pale(color: Color) -> Color:
    red, green, blue = (round(0.3 * channel + 0.7 * 255) for channel in color)
    return red, green, blue


def nice_ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers at equal steps, from at or below `low` to at or above `high`."""
    if high <= low:
        high = low + 1.0
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """The ticks with as many digits as tell them apart; thousands as k, tiny numbers with an exponent."""
    largest = max(abs(tick) for tick in ticks)
    if largest >= 10_000:
        return [f"{tick / 1000:g}k" if tick else "0" for tick in ticks]
    if largest < 0.001:
        return [f"{tick:.2g}" if tick else "0" for tick in ticks]
    decimals = max(0, 1 - math.floor(math.log10(ticks[1] - ticks[0])))
    texts = [f"{tick:.{decimals}f}" for tick in ticks]
    while decimals and all(text.endswith("0") for text in texts):
        decimals -= 1
        texts = [f"{tick:.{decimals}f}" for tick in ticks]
    return texts
