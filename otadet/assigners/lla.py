"""LLA: loss-aware label assignment (Ge et al., 2021), made for crowds."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.background import BackgroundCosts
from otadet.assigners.ops.candidates import Candidates, nearest
from otadet.assigners.ops.chunks import chunks, pairs_at_once
from otadet.assigners.ops.costs import BoxCost, ClassCost, FocalCost, IoUCost, relative_cost
from otadet.assigners.ops.grids import INSIDE_MARGIN, inside_boxes
from otadet.assigners.ops.inputs import on_host
from otadet.assigners.ops.pairs import Pairs
from otadet.assigners.ops.ties import CheapestWins
from otadet.assigners.ops.values import gather
from otadet.structures import Anchors, Assignment, Predictions

OUTSIDE_COST = 1e3
"""The released code's extra cost of a point outside the box."""

REACH = 5
"""Points outside a box are sought among the REACH x REACH nearest to its centre on each level."""


@dataclass(frozen=True)
class LLAAssigner(Assigner):
    """Each box takes the `topk` points inside it of least loss; one taken twice goes to the box of least loss.

    1. Candidates: the points inside the box.
    2. Their loss is class loss + `iou_weight` * IoU loss.
    3. A box takes the `topk` candidates of least loss. One with fewer points inside also takes points outside, at an
       extra cost; the released code seeks them in the whole image, this one among the nearest 5 x 5 of each level.
    4. A point that several boxes take goes to the box of least loss, sought as in the released code among all boxes
       that have it as a candidate.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,))([torch.empty(1, 1, 1, 3)])
    >>> truth = GroundTruth(torch.tensor([[0.0, 0, 16, 8], [16.0, 0, 24, 8]]), torch.tensor([0, 1]))
    >>> predictions = Predictions(
    ...     logits=torch.tensor([[[4.0, -4], [-4, 4], [-4, 4]]]), boxes=truth.boxes[[0, 1, 1]][None]
    ... )

    The second box has one point inside and takes point 1 too, which it loses to the box around that point:

    >>> assignment = LLAAssigner(topk=2)(predictions, anchors, [truth])
    >>> assignment.gt_index, assignment.ambiguous
    (tensor([[0, 0, 1]]), tensor([[False,  True, False]]))
    """

    gives_scores = False

    topk: int = 10
    """Anchors per box."""
    iou_weight: float = 1.5
    """Weight of the box loss beside the class loss."""
    class_cost: ClassCost = field(default_factory=FocalCost)
    """Loss of a logit against 0 and 1."""
    box_cost: BoxCost = field(default_factory=IoUCost)
    """Loss of a predicted box."""

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise ValueError(f"topk {self.topk}: must be at least 1 anchor")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        ledger = CheapestWins.empty(truth, len(anchors.points))
        background = BackgroundCosts(predictions, self.class_cost.negative)
        lacking = torch.where(truth.valid, self.topk, 0)
        region = inside_boxes(truth, len(anchors.level_sizes))
        for chunk in chunks(anchors, truth, region, pairs_at_once(predictions) * 3 // 4):
            loss = self._relative_loss(predictions, anchors, chunk.truth, chunk.pairs) + background.at(chunk.pairs)
            taken = chunk.in_batch(chunk.pairs.cheapest(loss, self.topk)[0])
            ledger.add(chunk.in_batch(chunk.pairs), loss, taken)
            lacking -= taken.count_per_box()
        if not on_host(lacking) or lacking.any():
            pairs = _outside(anchors, truth, lacking > 0)
            loss = self._relative_loss(predictions, anchors, truth, pairs) + background.at(pairs) + OUTSIDE_COST
            taken, _ = pairs.cheapest(loss, self.topk, lacking)
            ledger.add(pairs, loss, taken)
        return ledger.assignment()

    def _relative_loss(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, pairs: Pairs) -> Tensor:
        """(P,) loss, less the class loss that the anchor has as background."""
        values = gather(predictions, anchors, truth, pairs)
        return relative_cost(values, self.class_cost, self.box_cost, self.iou_weight)


def _outside(anchors: Anchors, truth: PaddedTruth, wanted: Tensor) -> Pairs:
    """Points near the boxes `wanted` (N, G), but not in them."""
    near = nearest(anchors, truth, REACH)
    point, box = anchors.points.to(truth.boxes.dtype)[near.anchor_index], truth.boxes[:, :, None]
    depth = torch.minimum(point - box[..., :2], box[..., 2:] - point).amin(-1)
    outside = Candidates(near.anchor_index, near.valid & (depth <= INSIDE_MARGIN) & wanted[..., None])
    return outside.pairs(len(anchors.points))
