"""What stands around the panels of an assignment: titles, the key of the marks, the table of positives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from otadet.analysis.assigned import AssignedImage
from otadet.integers import ceil_div
from otadet.visualize.assignment.panel import draw_dot
from otadet.visualize.palette import BLACK, WHITE, distinct_color, text_color
from otadet.visualize.text import Font, load_font

BEST, ALL = "best", "all"
MARGIN = 14
GREY, GROUND = (90, 90, 90), (205, 205, 205)


def title_strip(name: str, details: str, width: int) -> np.ndarray:
    """(H, width, 3): the name of a rule and below it the details, in as many lines as they need."""
    large, small = (load_font(round(np.clip(width / share, 16, size))) for share, size in ((16, 30), (20, 22)))
    return np.vstack((_paragraph(name, width, large, BLACK), _paragraph(details, width, small, GREY)))


def caption(text: str, width: int) -> np.ndarray:
    """(H, width, 3): the name of a row."""
    line = _paragraph(text, width - 2 * MARGIN, load_font(26), BLACK)
    return np.pad(line, ((MARGIN, 0), (MARGIN, MARGIN), (0, 0)), constant_values=255)


def key_strip(width: int, level: int | str, with_mass: bool) -> np.ndarray:
    """(H, width, 3): what dots and rings mean."""
    font = load_font(20)
    orange = distinct_color(3)
    entries = [
        ((orange, False), "positive, in the colour of its box"),
        ((orange, True), "ambiguous (OTA: largest share below 0.9; other rules: of two or more boxes)"),
        ((None, True), "ambiguous, then background"),
    ]
    notes = {BEST: "Each panel: the level with most positives, chosen per rule.", ALL: "Larger dots: coarser levels."}
    texts = ([notes[level]] if level in notes else []) + (
        ["Tint: what the boxes transport to a place (OTA only)."] if with_mass else []
    )
    indents = [2 * font.size] * len(entries) + [0] * len(texts)
    words = [text for _, text in entries] + texts
    places = _flow([indent + font.width(text) for indent, text in zip(indents, words, strict=True)], width, font)
    strip = _blank(places[-1][1] + _row_height(font) + MARGIN // 2, width)
    for index, (x, y) in enumerate(places):
        if index < len(entries):
            color, ambiguous = entries[index][0]
            strip[y : y + font.line_height, x : x + round(1.5 * font.size)] = GROUND
            draw_dot(strip, np.array([x + 0.75 * font.size, y + font.line_height / 2]), 7, color, ambiguous)
        font.draw(strip, words[index], x + indents[index], y, BLACK)
    return strip


def table_strip(assigned: AssignedImage, width: int) -> np.ndarray:
    """(H, width, 3): a swatch and a number for each box, and how many positives each rule gave it."""
    font = load_font(20)
    num_boxes = len(assigned.boxes)
    counts = [(result.positives(num_boxes), result.supply) for result in assigned.results]
    rules = " · ".join(f"{result.rule} (k)" if result.mass is not None else result.rule for result in assigned.results)
    entries = [
        " · ".join(str(found[box]) if supply is None else f"{found[box]} ({supply[box]})" for found, supply in counts)
        for box in range(num_boxes)
    ]
    head = _paragraph(f"Positives of each box: {rules}", width - 2 * MARGIN, font, BLACK)
    cell = font.width("000") + 14 + max(font.width(entry) for entry in entries) + 2 * font.size
    columns = max(1, (width - 2 * MARGIN) // cell)
    strip = _blank(ceil_div(num_boxes, columns) * _row_height(font) + MARGIN, width)
    for box, entry in enumerate(entries):
        _draw_entry(strip, box, entry, MARGIN + box % columns * cell, box // columns * _row_height(font), font)
    return np.vstack((np.pad(head, ((MARGIN // 2, 0), (MARGIN, MARGIN), (0, 0)), constant_values=255), strip))


def _draw_entry(strip: np.ndarray, box: int, entry: str, x: int, y: int, font: Font) -> None:
    color, swatch = distinct_color(box), font.width("000") + 6
    strip[y : y + font.line_height, x : x + swatch] = color
    font.draw(strip, str(box), x + (swatch - font.width(str(box))) // 2, y, text_color(color))
    font.draw(strip, entry, x + swatch + 8, y, BLACK)


def _paragraph(text: str, width: int, font: Font, color: tuple[int, int, int]) -> np.ndarray:
    lines = font.wrapped(text, width)
    strip = _blank(len(lines) * font.line_height + font.size // 4, width)
    for index, line in enumerate(lines):
        font.draw(strip, line, 0, index * font.line_height, color)
    return strip


def _flow(widths: Sequence[int], width: int, font: Font) -> list[tuple[int, int]]:
    """(x, y) of entries of these widths, one after the other and in the next row where there is no room."""
    places, x, y = [], MARGIN, MARGIN
    for entry in widths:
        if x + entry > width - MARGIN and x > MARGIN:
            x, y = MARGIN, y + _row_height(font)
        places.append((x, y))
        x += entry + 2 * font.size
    return places


def _row_height(font: Font) -> int:
    return round(1.6 * font.size)


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), WHITE, np.uint8)
