"""A grey image of 64 pixels with two boxes on a grid of two levels, and what a rule may have done with it."""

from __future__ import annotations

import numpy as np

from otadet.analysis.assigned import AssignedImage, Grid, RuleResult
from otadet.visualize.text import load_font

SIZES = ((4, 4), (2, 2))
BOXES = np.array([[0, 0, 32, 32], [32, 32, 64, 64]], np.float32)


def grid() -> Grid:
    points, strides = [], []
    for (height, width), stride in zip(SIZES, (16, 32), strict=True):
        y, x = np.mgrid[:height, :width]
        points.append(np.stack((x.ravel(), y.ravel()), 1) * stride + stride / 2)
        strides.append(np.full(height * width, stride))
    return Grid(np.concatenate(points).astype(np.float32), np.concatenate(strides), SIZES)


def result(positive: dict[int, int], ambiguous: tuple[int, ...] = (), mass=None, rule: str = "OTA") -> RuleResult:
    gt_index = np.full(20, -1)
    for anchor, box in positive.items():
        gt_index[anchor] = box
    return RuleResult(rule, gt_index, np.isin(np.arange(20), ambiguous), mass)


def assigned(*results: RuleResult) -> AssignedImage:
    return AssignedImage(np.full((64, 64, 3), 200, np.uint8), BOXES, grid(), list(results))


def written(monkeypatch) -> list[str]:
    """The texts that pictures get from now on."""
    texts: list[str] = []
    kind = type(load_font(20))
    monkeypatch.setattr(kind, "draw", lambda self, canvas, text, x, y, color: texts.append(text))
    return texts
