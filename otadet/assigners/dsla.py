"""DSLA: RTMDet's dynamic soft labels (Lyu et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.chunks import chunks_of_anchors, pairs_at_once, points_in
from otadet.assigners.ops.costs import BoxCost, ClassCost, DistanceCost, IoUCost, PriorCost, QFLCost
from otadet.assigners.ops.grids import inside_boxes
from otadet.assigners.ops.pairs import owned
from otadet.assigners.ops.supplies import supplies
from otadet.assigners.ops.ties import CheapestWins
from otadet.assigners.ops.values import PairValues, gather
from otadet.structures import Anchors, Assignment, Predictions


@dataclass(frozen=True)
class DSLAAssigner(Assigner):
    """SimOTA with a class cost against the IoU, a soft centre prior, and the IoU as the score of each positive anchor.

    1. Candidates of every box of an image: the points inside any of its boxes.
    2. The cost of a pair is class cost + `iou_weight` * box cost + prior cost, the class cost that of the box's class.
    3. A box takes its k cheapest candidates, k being the sum of the `top_q` IoUs of its candidates, at least 1.
    4. An anchor that several boxes take goes to the box to which it is cheapest, of all boxes.
    5. The score of an anchor is the IoU of its prediction with its box.

    An image without a point in any box gets no positive anchor.

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

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        num_anchors, limit = len(anchors.points), pairs_at_once(predictions) // 2
        candidates = points_in(inside_boxes(truth, len(anchors.level_sizes)), anchors, truth, limit)
        ledger = CheapestWins.empty(truth, num_anchors)
        for chunk in chunks_of_anchors(candidates, num_anchors, truth, limit):
            values = gather(predictions, anchors, chunk.truth, chunk.pairs)
            cost = self._cost(values)
            supply = supplies(values.iou, chunk.truth, chunk.pairs, None, self.top_q)
            taken, _ = chunk.pairs.cheapest(cost, self.top_q, supply)
            ledger.add(chunk.in_batch(chunk.pairs), cost, chunk.in_batch(taken))
        assignment = ledger.assignment()
        positives = owned(assignment.gt_index, truth.valid.shape[1])
        score = positives.of_anchors(gather(predictions, anchors, truth, positives).iou)
        return replace(assignment, score=score)

    def _cost(self, values: PairValues) -> Tensor:
        cost = self.class_cost.positive(values) + self.iou_weight * self.box_cost(values)
        return cost if self.prior_cost is None else cost + self.prior_cost(values)
