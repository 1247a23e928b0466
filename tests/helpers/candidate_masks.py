"""Candidates as a table of all boxes and anchors, and the distances of all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from otadet.assigners.ops.candidates import Candidates
from otadet.structures import Anchors


def as_mask(candidates: Candidates, num_anchors: int) -> Tensor:
    """(N, G, K) -> (N, G, A) bool; fails where a row names an anchor twice."""
    counts = torch.zeros(*candidates.valid.shape[:2], num_anchors, dtype=torch.int64)
    counts.scatter_add_(2, candidates.anchor_index, candidates.valid.long())
    assert counts.max() <= 1
    return counts > 0


def brute_force_distances(anchors: Anchors, boxes: Tensor, side: int) -> list[Tensor]:
    """One (G, up to side * side) per level, ascending."""
    center = (boxes[:, :2] + boxes[:, 2:]).double() / 2
    parts = torch.cdist(center, anchors.points.double()).split([h * w for h, w in anchors.level_sizes], dim=1)
    return [part.sort(dim=1).values[:, : side * side] for part in parts]
