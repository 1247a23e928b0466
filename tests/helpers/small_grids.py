"""Grids small enough to work out an assignment by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from otadet.models import AnchorGrid
from otadet.structures import Anchors, GroundTruth, Predictions


def grid(*sizes: tuple[int, int], scale: float = 2.0) -> Anchors:
    """Levels of (height, width) points with strides 8, 16, ...; the anchor boxes are squares of `scale` strides."""
    strides = tuple(8 << level for level in range(len(sizes)))
    return AnchorGrid(strides, scale)([torch.empty(1, 1, *size) for size in sizes])


def truth(*boxes: list[float], labels: list[int] | None = None) -> GroundTruth:
    return GroundTruth(torch.tensor(boxes), torch.tensor(labels or [0] * len(boxes)))


def no_say(anchors: Anchors) -> Predictions:
    """Predictions for rules that do not look at them."""
    return Predictions(torch.zeros(1, len(anchors.points), 1), torch.zeros(1, len(anchors.points), 4))


def logit(probabilities: list[list[float]]) -> Tensor:
    return torch.tensor(probabilities).logit()
