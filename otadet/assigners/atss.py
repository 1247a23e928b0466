"""ATSS: a threshold on the IoU of anchor boxes that each object sets for itself (Zhang et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.candidates import Candidates, nearest_points
from otadet.assigners.ops.grids import INSIDE_MARGIN
from otadet.assigners.ops.ties import Contest
from otadet.boxes import boxes_to_distances, iou
from otadet.structures import Anchors, Assignment, Predictions


@dataclass(frozen=True)
class ATSSAssigner(Assigner):
    """Of the anchors nearest to an object's centre, those with an IoU above the candidates' mean + std answer for it.

    1. Candidates: the `topk` points of each level that are nearest to the centre of the box.
    2. Their IoU is that of the anchor box with the object; the predictions have no influence.
    3. Positive are the candidates inside the box whose IoU is at least the mean plus the standard deviation of all.
    4. An anchor that several boxes want goes to the one with the largest IoU.

    A box without a point inside gets none.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,), scale=2)([torch.empty(1, 1, 1, 4)])
    >>> anchors.boxes[1]
    tensor([ 4., -4., 20., 12.])
    >>> truth = GroundTruth(torch.tensor([[2.0, -4, 18, 12]]), torch.tensor([0]))
    >>> predictions = Predictions(torch.zeros(1, 4, 1), torch.zeros(1, 4, 4))

    The IoUs of the three nearest, points 0 to 2, are 0.45, 0.78 and 0.23: a threshold of 0.76.

    >>> ATSSAssigner(topk=3)(predictions, anchors, [truth]).gt_index
    tensor([[-1,  0, -1, -1]])
    """

    gives_scores = False

    topk: int = 9
    """Candidates per box and level: 9 is the original; the OTA paper's r = 3, 5, 7 (Tab. 2) are 9, 25, 49."""

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise ValueError(f"topk {self.topk}: must be at least 1 point per level")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        candidates = nearest_points(anchors, truth, self.topk)
        boxes = truth.boxes[:, :, None]
        ious = iou(anchors.boxes[candidates.anchor_index].to(boxes.dtype), boxes)
        sides = boxes_to_distances(anchors.points[candidates.anchor_index].to(boxes.dtype), boxes)
        is_positive = (ious >= mean_plus_std(ious, candidates.valid)) & (sides.amin(-1) > INSIDE_MARGIN)
        positives = Candidates(candidates.anchor_index, candidates.valid & is_positive).pairs(len(anchors.points))
        contest = Contest.empty(truth, len(anchors.points))
        contest.add(positives, ious.flatten()[positives.table_index])
        return contest.assignment()


def mean_plus_std(values: Tensor, valid: Tensor) -> Tensor:
    """(..., K) -> (..., 1) mean plus unbiased standard deviation; a single value has a deviation of 0."""
    count = valid.sum(-1, keepdim=True)
    mean = (values * valid).sum(-1, keepdim=True) / count.clamp(min=1)
    squares = ((values - mean).square() * valid).sum(-1, keepdim=True)
    return mean + (squares / (count - 1).clamp(min=1)).sqrt()
