"""DSLA: RTMDet's dynamic soft labels (Lyu et al., 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.candidates import Candidates, nearest_points
from otadet.assigners.ops.chunks import chunks, pairs_at_once, points_in, rows_of
from otadet.assigners.ops.costs import BoxCost, ClassCost, DistanceCost, IoUCost, PriorCost, QFLCost
from otadet.assigners.ops.grids import Region, inside_boxes, levels_of, near_centers
from otadet.assigners.ops.inputs import MAX_COORDINATE, limit_
from otadet.assigners.ops.pairs import owned
from otadet.assigners.ops.supplies import supplies
from otadet.assigners.ops.ties import CheapestWins
from otadet.assigners.ops.values import PairValues, gather
from otadet.boxes import iou
from otadet.structures import Anchors, Assignment, Predictions

SLACK = 1e-6
"""Strides by which a bound is loosened, so that no rounding loses a pair."""


@dataclass(frozen=True)
class DSLAAssigner(Assigner):
    """SimOTA with a class cost against the IoU, a soft centre prior, and the IoU as the score of each positive anchor.

    1. Candidates of every box of an image: the points inside any of its boxes.
    2. The cost of a pair is class cost + `iou_weight` * box cost + prior cost, the class cost that of the box's class.
    3. A box takes its k cheapest candidates, k being the sum of the `top_q` IoUs of its candidates, at least 1.
    4. An anchor that several boxes take goes to the box to which it is cheapest, of all boxes.
    5. The score of an anchor is the IoU of its prediction with its box.

    An image without a point in any box gets no positive anchor. Costs are not negative, so an anchor whose prior cost
    alone is above what the candidates of largest IoU cost need not be looked at: steps 3 and 4 look near the centre.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,))([torch.empty(1, 1, 1, 4)])
    >>> truth = GroundTruth(torch.tensor([[0.0, 0, 16, 8], [16.0, 0, 32, 8]]), torch.tensor([0, 1]))

    Point 0 predicts half of the first box, the others the whole of one; each box takes one anchor or two:

    >>> predicted = torch.tensor([[0.0, 0, 8, 8], [0, 0, 16, 8], [16, 0, 32, 8], [16, 0, 32, 8]])
    >>> assignment = DSLAAssigner()(Predictions(torch.zeros(1, 4, 2), predicted[None]), anchors, [truth])
    >>> assignment.gt_index, assignment.score
    (tensor([[-1,  0,  1,  1]]), tensor([[0., 1., 1., 1.]]))
    """

    top_q: int = 13
    """IoUs of the candidates that are summed up for dynamic k, and the most anchors that a box takes."""
    iou_weight: float = 3.0
    """Weight of the box cost beside the class cost."""
    class_cost: ClassCost = field(default_factory=QFLCost)
    """Loss of the logit of the box's class."""
    box_cost: BoxCost = field(default_factory=lambda: IoUCost(eps=1e-7))
    """Loss of a predicted box."""
    prior_cost: PriorCost | None = field(default_factory=DistanceCost)
    """Cost of an anchor far from the centre of the box."""

    def __post_init__(self) -> None:
        if self.top_q < 1:
            raise ValueError(f"top_q {self.top_q}: must be at least 1")
        if not 0 <= self.iou_weight < math.inf:
            raise ValueError(f"iou_weight {self.iou_weight}: must be a number, and not below 0")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        num_anchors, limit = len(anchors.points), pairs_at_once(predictions)
        is_candidate = points_in(inside_boxes(truth, len(anchors.level_sizes)), anchors, truth, limit)
        best = self._best_overlaps(predictions, truth, is_candidate, limit).pairs(num_anchors)
        values = gather(predictions, anchors, truth, best)
        supply = supplies(values.iou, truth, best, None, self.top_q)
        near = nearest_points(anchors, truth, self.top_q).pairs(num_anchors)
        near = near.only(is_candidate.view(-1)[near.anchor_row])
        enough = torch.minimum(
            _last_cost(best.table(self._cost(values), torch.inf), supply),
            _last_cost(near.table(self._cost(gather(predictions, anchors, truth, near)), torch.inf), supply),
        )
        ledger = CheapestWins.empty(truth, num_anchors)
        for chunk in chunks(anchors, truth, self._region(anchors, truth, enough), limit // 2):
            nearby = chunk.pairs.only(is_candidate.view(-1)[chunk.pairs.anchor_row])
            cost = self._cost(gather(predictions, anchors, chunk.truth, nearby))
            taken, _ = nearby.cheapest(cost, self.top_q, supply.flatten()[chunk.box_rows][None])
            ledger.add(chunk.in_batch(nearby), cost, chunk.in_batch(taken))
        assignment = ledger.assignment()
        positives = owned(assignment.gt_index, truth.valid.shape[1])
        score = positives.of_anchors(gather(predictions, anchors, truth, positives).iou)
        return replace(assignment, score=score)

    def _best_overlaps(
        self, predictions: Predictions, truth: PaddedTruth, is_candidate: Tensor, limit: int
    ) -> Candidates:
        """The `top_q` candidates (N, A) of each box whose predictions overlap it most.

        Some boxes of each image at a time, `limit` pairs of them with any anchors.
        """
        # In memory one coordinate of all boxes after the other: these tables are large.
        rows, is_row = rows_of(is_candidate, is_candidate.shape[1])
        boxes = predictions.boxes.flatten(0, 1)[rows].mT.to(truth.boxes.dtype).contiguous()
        boxes = limit_(boxes, MAX_COORDINATE).mT[:, None]
        found = []
        for part in truth.boxes.split(max(1, limit // max(1, rows.numel())), 1):
            ious = torch.where(is_row[:, None], iou(part[:, :, None], boxes), -1)
            found.append(ious.topk(min(self.top_q, rows.shape[1])))
        place = torch.cat([best.indices for best in found], 1)
        valid = (torch.cat([best.values for best in found], 1) >= 0) & truth.valid[..., None]
        index = rows.remainder(is_candidate.shape[1])[:, None].expand(-1, place.shape[1], -1)
        return Candidates(index.gather(2, place), valid)

    def _region(self, anchors: Anchors, truth: PaddedTruth, enough: Tensor) -> Region:
        """Where the anchors of each box lie that somebody may take for it, or win from another box.

        enough: (N, G) that a box pays no more than. An anchor that costs a box more than any box of its image pays is
        neither taken by it nor won.
        """
        levels = levels_of(anchors, truth.boxes.dtype)
        enough = torch.where(truth.valid, enough, 0).amax(1, keepdim=True)
        reach = torch.full_like(enough, torch.inf) if self.prior_cost is None else self.prior_cost.reach(enough)
        return near_centers(truth, levels, reach.clamp(min=0)[..., None, None] + SLACK)

    def _cost(self, values: PairValues) -> Tensor:
        cost = self.class_cost.positive(values) + self.iou_weight * self.box_cost(values)
        return cost if self.prior_cost is None else cost + self.prior_cost(values)


def _last_cost(cost: Tensor, supply: Tensor) -> Tensor:
    """(N, G, K) costs of some candidates of each box, (N, G) -> (N, G) what the last of the cheapest `supply` costs.

    Infinite where there are fewer. With more candidates a box pays no more.
    """
    last = (supply.long() - 1).clamp(0, cost.shape[2])[..., None]
    return F.pad(cost.sort().values, (0, 1), value=torch.inf).gather(2, last).squeeze(2)
