"""LLA: loss-aware label assignment (Ge et al., 2021), made for crowds."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.candidates import Candidates, nearest
from otadet.assigners.ops.chunks import blocks, pairs_at_once
from otadet.assigners.ops.claims import Claims
from otadet.assigners.ops.costs import (
    BackgroundCosts,
    BoxCost,
    ClassCost,
    FocalCost,
    IoUCost,
    look_up,
    relative_cost,
)
from otadet.assigners.ops.grids import INSIDE_MARGIN, inside_boxes
from otadet.assigners.ops.inputs import can_look
from otadet.assigners.ops.pairs import Pairs, pack
from otadet.assigners.simota import take
from otadet.structures import Anchors, Assignment, Predictions

OUTSIDE = 1e3
"""The released code's extra cost of a point outside the box."""

REACH = 5
"""Points outside a box are sought among the REACH x REACH nearest to its centre on each level."""


@dataclass(frozen=True)
class LLAAssigner(Assigner):
    """Each box takes the `top` points inside it of least loss; one taken twice goes to the box of least loss.

    The loss is class loss + `iou_weight` * IoU loss. As in the released code the least one is sought among all boxes
    that hold the point, and a box with fewer than `top` points inside also takes points outside, at an extra cost; here
    these come from the nearest 5 x 5 of each level and not from the whole image.
    """

    top: int = 10
    iou_weight: float = 1.5
    class_cost: ClassCost = field(default_factory=FocalCost)
    box_cost: BoxCost = field(default_factory=IoUCost)

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top {self.top}: must be at least 1 anchor")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        taken, held = Claims.none(truth, len(anchors.points)), Claims.none(truth, len(anchors.points))
        background = BackgroundCosts(predictions, self.class_cost)
        lacking = torch.where(truth.present, self.top, 0)
        region = inside_boxes(truth, len(anchors.level_sizes))
        for block in blocks(anchors, truth, region, pairs_at_once(predictions) * 3 // 4):
            cost = self._relative_loss(predictions, block.truth, block.pairs) + background.at(block.pairs)
            box = block.row[block.pairs.box]
            takes = take(cost, torch.full_like(block.truth.labels, self.top), block.pairs, self.top)
            taken.add(block.pairs, box, -cost, takes)
            held.add(block.pairs, box, -cost, block.pairs.real)
            lacking.view(-1).index_add_(0, box, takes.to(lacking.dtype), alpha=-1)
        if not can_look(lacking) or lacking.any():
            pairs = _outside(anchors, truth, lacking > 0)
            cost = self._relative_loss(predictions, truth, pairs) + background.at(pairs) + OUTSIDE
            taken.add(pairs, pairs.box, -cost, take(cost, lacking, pairs, self.top))
            held.add(pairs, pairs.box, -cost, pairs.real)
        return taken.settled_by(held)

    def _relative_loss(self, predictions: Predictions, truth: PaddedTruth, pairs: Pairs) -> Tensor:
        """(P,) loss, less the class loss that the anchor has as background."""
        return relative_cost(look_up(predictions, truth, pairs), self.class_cost, self.box_cost, self.iou_weight)


def _outside(anchors: Anchors, truth: PaddedTruth, wanted: Tensor) -> Pairs:
    """Points near the boxes `wanted` (N, G), but not in them."""
    near = nearest(anchors, truth, REACH)
    point, box = anchors.points.to(truth.boxes.dtype)[near.anchor], truth.boxes[:, :, None]
    depth = torch.minimum(point - box[..., :2], box[..., 2:] - point).amin(-1)
    return pack(Candidates(near.anchor, near.valid & (depth <= INSIDE_MARGIN) & wanted[..., None]), len(anchors.points))
