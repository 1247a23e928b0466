"""Draws docs/assigners.png, the picture of docs/assigners.md: python docs/draw_assigners.py

Every number in it is worked out by the functions that rules are written with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from otadet.assigners.base import PaddedTruth, pad_truths
from otadet.assigners.ops.candidates import Candidates, window
from otadet.assigners.ops.pairs import Pairs
from otadet.assigners.ops.ties import Contest
from otadet.assigners.ops.values import gather
from otadet.boxes import centers
from otadet.command_line import Parser
from otadet.files import atomic_path
from otadet.models import AnchorGrid
from otadet.structures import Anchors, Assignment, GroundTruth, Predictions
from otadet.visualize.palette import BLACK, Color
from otadet.visualize.text import load_font

SCALE = 2
"""Pixels of the picture per unit of the layout below."""
WIDTH, HEIGHT, MARGIN = 1180, 796, 40
COLORS: tuple[Color, ...] = ((226, 104, 20), (47, 110, 214))
TINTS: tuple[Color, ...] = ((253, 229, 208), (214, 229, 252))
GREY, LIGHT, PAPER = (105, 105, 105), (208, 208, 208), (255, 255, 255)
K = 3
SEED = 2117
"""With which both boxes take an anchor."""


@dataclass(frozen=True)
class Example:
    """Two boxes on two levels, and what the four steps make of them."""

    anchors: Anchors
    truth: PaddedTruth
    candidates: Candidates
    pairs: Pairs
    ious: Tensor
    """(P,)"""
    taken: Tensor
    """(P,) bool"""
    assignment: Assignment


def worked_out() -> Example:
    """The steps of a rule that gives each box the `K` candidates that predict it best."""
    anchors = AnchorGrid(strides=(8, 16))([torch.empty(1, 1, 4, 6), torch.empty(1, 1, 2, 3)])
    boxes = torch.tensor([[6.0, 2.0, 30.0, 26.3], [21.5, 10.0, 39.5, 30.5]])
    truth = pad_truths([GroundTruth(boxes, torch.tensor([0, 1]))], 2)
    # Each point predicts something between the boxes, more of the nearer one, with some error.
    share = torch.cdist(anchors.points, centers(boxes)).neg().div(6).softmax(1)
    error = 6 * torch.randn(len(anchors.points), 4, generator=torch.Generator().manual_seed(SEED))
    predicted = share @ boxes + error
    predictions = Predictions(torch.zeros(1, len(predicted), 2), predicted[None])

    candidates = window(anchors, truth, radius=1.0)
    pairs = candidates.pairs(len(anchors.points))
    ious = gather(predictions, anchors, truth, pairs).iou
    best, rows = pairs.cheapest(-ious, K)
    contest = Contest.empty(truth, len(anchors.points))
    contest.add(best, ious[rows])
    taken = torch.zeros(len(ious), dtype=torch.bool).index_fill_(0, rows, True)
    return Example(anchors, truth, candidates, pairs, ious, taken, contest.assignment())


class Sheet:
    """A white page in units of the layout."""

    def __init__(self) -> None:
        self.canvas = np.full((HEIGHT * SCALE, WIDTH * SCALE, 3), 255, np.uint8)

    def text(self, text: str, x: float, y: float, size: int = 15, color: Color = BLACK, align: float = 0.0) -> None:
        """At the top left corner (x, y), or centred on x with an `align` of 0.5."""
        font = load_font(size * SCALE)
        font.draw(self.canvas, text, round(x * SCALE - align * font.width(text)), round(y * SCALE), color)

    def rectangle(self, x: float, y: float, width: float, height: float, fill: Color, edge: Color) -> None:
        first = round(x * SCALE), round(y * SCALE)
        last = round((x + width) * SCALE), round((y + height) * SCALE)
        cv2.rectangle(self.canvas, first, last, fill, -1)
        cv2.rectangle(self.canvas, first, last, edge, SCALE, cv2.LINE_AA)

    def line(self, points: list[tuple[float, float]], color: Color, width: float = 1.5) -> None:
        path = np.array([[round(x * SCALE), round(y * SCALE)] for x, y in points], np.int32)
        cv2.polylines(self.canvas, [path], False, color, round(width * SCALE), cv2.LINE_AA)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], color: Color) -> None:
        """Down from `start` to `end`, with a head."""
        self.line([start, end], color)
        x, y = end
        head = np.array([[x - 5, y - 8], [x + 5, y - 8], [x, y]]) * SCALE
        cv2.fillPoly(self.canvas, [head.round().astype(np.int32)], color, cv2.LINE_AA)

    def dot(self, x: float, y: float, radius: float, fill: Color, edge: Color, width: float = 1.5) -> None:
        center = round(x * SCALE), round(y * SCALE)
        cv2.circle(self.canvas, center, round((radius + width / 2) * SCALE), edge, -1, cv2.LINE_AA)
        cv2.circle(self.canvas, center, round((radius - width / 2) * SCALE), fill, -1, cv2.LINE_AA)

    def cell(self, text: str, x: float, y: float, width: float, fill: Color = PAPER, color: Color = BLACK) -> None:
        """One field of a table, 30 high."""
        self.rectangle(x, y, width, 30, fill, LIGHT)
        self.text(text, x + width / 2, y + 6, 14, color, align=0.5)


def draw_scene(sheet: Sheet, example: Example, x: float, y: float, unit: float) -> None:
    """The boxes and the points, the candidates tinted."""
    draw_boxes(sheet, example, x, y, unit)
    owners: dict[int, list[int]] = {}
    for gt_index, anchor in zip(example.pairs.gt_index.tolist(), example.pairs.anchor_index.tolist(), strict=True):
        owners.setdefault(anchor, []).append(gt_index)
    for anchor, px, py, radius in places(example, x, y, unit):
        held = owners.get(anchor, [])
        fill = TINTS[held[0]] if len(held) == 1 else PAPER
        edge = LIGHT if not held else COLORS[held[0]] if len(held) == 1 else BLACK
        sheet.dot(px, py, radius, fill, edge)
        sheet.text(str(anchor), px, py - 9, 13, BLACK if held else GREY, align=0.5)


def draw_result(sheet: Sheet, example: Example, x: float, y: float, unit: float) -> None:
    """The points in the colour of the box that gets them."""
    draw_boxes(sheet, example, x, y, unit)
    gt_index, ambiguous = example.assignment.gt_index[0].tolist(), example.assignment.ambiguous[0].tolist()
    for anchor, px, py, radius in places(example, x, y, unit):
        if gt_index[anchor] < 0:
            sheet.dot(px, py, 0.6 * radius, PAPER, LIGHT)
            continue
        sheet.dot(px, py, radius, COLORS[gt_index[anchor]], BLACK if ambiguous[anchor] else PAPER, 2.5)


def draw_boxes(sheet: Sheet, example: Example, x: float, y: float, unit: float) -> None:
    for index, box in enumerate(example.truth.boxes[0].tolist()):
        left, top, right, bottom = (side * unit for side in box)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        sheet.line([(x + a, y + b) for a, b in corners], COLORS[index], 2.5)


def places(example: Example, x: float, y: float, unit: float) -> list[tuple[int, float, float, float]]:
    """Anchor, centre and radius of the points' dots; the coarse level first, so that it lies below."""
    found = []
    for anchor in reversed(range(len(example.anchors.points))):
        px, py = (value * unit for value in example.anchors.points[anchor].tolist())
        found.append((anchor, x + px, y + py, unit * (1.75 if example.anchors.strides[anchor] > 8 else 1.25)))
    return found


def draw_table(sheet: Sheet, example: Example, x: float, y: float) -> None:
    """The (G, K) table of candidates."""
    valid, anchor_index = example.candidates.valid[0], example.candidates.anchor_index[0]
    for box in range(len(valid)):
        sheet.text(f"box {box}", x, y + 34 * box + 6, 14, COLORS[box])
        for place in range(valid.shape[1]):
            at = x + 58 + 52 * place, y + 34 * box
            if valid[box, place]:
                sheet.cell(str(int(anchor_index[box, place])), *at, 52, TINTS[box])
            else:
                sheet.cell("-", *at, 52, (240, 240, 240), GREY)


def draw_list(sheet: Sheet, example: Example, x: float, y: float) -> list[tuple[float, float]]:
    """The (P,) list with what is gathered for it and who is taken; the place below each pair."""
    width, below = 56, []
    rows = ("gt_row", "anchor_row", "iou", "taken")
    for row, name in enumerate(rows):
        sheet.text(name, x, y + 30 * row + 6, 14, GREY)
    for pair in range(len(example.ious)):
        box, taken = int(example.pairs.gt_row[pair]), bool(example.taken[pair])
        values = (str(box), str(int(example.pairs.anchor_row[pair])), f"{example.ious[pair]:.2f}")
        for row, value in enumerate((*values, "yes" if taken else "")):
            fill = COLORS[box] if taken and row >= 2 else TINTS[box] if row < 2 else PAPER
            sheet.cell(value, x + 96 + width * pair, y + 30 * row, width, fill, PAPER if taken and row >= 2 else BLACK)
        below.append((x + 96 + width * (pair + 0.5), y + 120))
    return below


def draw_winners(sheet: Sheet, example: Example, x: float, y: float, below: list[tuple[float, float]]) -> None:
    """The claimed anchors and who gets each, with a line from every taken pair."""
    claims: dict[int, list[int]] = {}
    for pair in example.taken.nonzero().flatten().tolist():
        claims.setdefault(int(example.pairs.anchor_index[pair]), []).append(pair)
    for row, name in enumerate(("anchor", "gt_index", "ambiguous")):
        sheet.text(name, x, y + 30 * row + 6, 14, GREY)
    width = 728 / len(claims)
    # In the order of their pairs, so that few lines cross.
    for place, (anchor, pairs) in enumerate(sorted(claims.items(), key=lambda item: sum(item[1]) / len(item[1]))):
        left, winner = x + 96 + width * place, int(example.assignment.gt_index[0, anchor])
        is_ambiguous = bool(example.assignment.ambiguous[0, anchor])
        sheet.cell(str(anchor), left, y, width)
        sheet.cell(str(winner), left, y + 30, width, COLORS[winner], PAPER)
        sheet.cell("yes" if is_ambiguous else "", left, y + 60, width)
        for number, pair in enumerate(pairs):
            end = left + width / 2 + 30 * (number - (len(pairs) - 1) / 2), y - 1
            box = int(example.pairs.gt_row[pair])
            start = below[pair]
            sheet.line([(start[0], start[1] + 1), end], COLORS[box], 2.5 if box == winner else 1.2)
            if box != winner:
                sheet.text("loses", start[0] - 38, start[1] + 6, 12, COLORS[box])


def draw() -> np.ndarray:
    """The whole page, (H, W, 3) uint8 RGB."""
    example, sheet = worked_out(), Sheet()
    head, call, unit, right = 17, 14, 8.4, MARGIN + 48 * 8.4 + 96
    sheet.text("1  Candidates: a box may have the points near its centre", MARGIN, 22, head)
    sheet.text("candidates = window(anchors, truth, radius=1.0)", MARGIN + 20, 46, call, GREY)
    draw_scene(sheet, example, MARGIN, 74, unit)
    sheet.text("small: stride 8   large: stride 16   number: anchor_index", MARGIN, 352, 13, GREY)
    sheet.text("black ring: both boxes may have it", MARGIN, 371, 13, GREY)

    sheet.text("the table (N, G, K): 1 image, 2 boxes, 8 places", right, 92, 15)
    draw_table(sheet, example, right, 120)
    sheet.text("- is padding: candidates.valid is false there", right + 58, 194, 13, GREY)
    middle = right + 58 + 26 * 8
    sheet.arrow((middle, 222), (middle, 266), GREY)
    sheet.text("pairs = candidates.pairs(num_anchors)", middle + 14, 232, call, GREY)
    sheet.text(f"the list (P,): its {len(example.ious)} valid pairs, box by box", right, 278, 15)
    sheet.text("(on an accelerator the padding stays in the list,", right, 306, 13, GREY)
    sheet.text("as counting the valid places would be a wait)", right, 325, 13, GREY)

    top = 410
    sheet.text("2  Gather what the rule compares", MARGIN, top, head)
    sheet.text("iou = gather(predictions, anchors, truth, pairs).iou", MARGIN + 20, top + 24, call, GREY)
    sheet.text(f"3  Choose per box: the {K} of largest IoU", MARGIN + 430, top, head)
    sheet.text(f"taken, rows = pairs.cheapest(-iou, k={K})", MARGIN + 450, top + 24, call, GREY)
    below = draw_list(sheet, example, MARGIN, top + 54)

    end = top + 54 + 120 + 58
    draw_winners(sheet, example, MARGIN, end, below)
    sheet.text("4  Settle per anchor: the largest IoU gets it", MARGIN, end + 104, head)
    sheet.text("contest.add(taken, iou[rows]); contest.assignment()", MARGIN + 388, end + 107, call, GREY)
    sheet.text("the assignment", 912, top + 24, 15)
    draw_result(sheet, example, 905, top + 58, 5.0)
    sheet.text("filled: positive, in the", 912, top + 232, 13, GREY)
    sheet.text("colour of its box; black", 912, top + 251, 13, GREY)
    sheet.text("ring: ambiguous; empty:", 912, top + 270, 13, GREY)
    sheet.text("background, gt_index -1", 912, top + 289, 13, GREY)
    return sheet.canvas


def main() -> None:
    Parser(description=__doc__).parse_args()
    path = Path(__file__).with_name("assigners.png")
    with atomic_path(path) as temporary:
        # A palette of 64 colours: a third of the size, and nobody sees it.
        Image.fromarray(draw()).quantize(64).save(temporary, format="PNG", optimize=True)
    print(path)


if __name__ == "__main__":
    main()
