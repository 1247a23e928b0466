"""ATSS: a threshold on the IoU of anchor boxes that each object sets for itself (Zhang et al., 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.candidates import Candidates, nearest_points
from otadet.assigners.ops.claims import Claims
from otadet.assigners.ops.grids import INSIDE_MARGIN
from otadet.assigners.ops.pairs import pack
from otadet.boxes import boxes_to_distances, iou
from otadet.structures import Anchors, Assignment, Predictions


@dataclass(frozen=True)
class ATSSAssigner(Assigner):
    """Of the anchors nearest to an object's centre, those with an IoU above the candidates' mean + std answer for it.

    The candidates are the `top` points of each level nearest to the centre of the box; the IoU is that of the anchor
    boxes, so the predictions have no say. A positive also lies inside the box. An anchor that several boxes want goes
    to the one with the largest IoU. A box without a point inside gets none.

    top: 9 is the original; the OTA paper's r = 3, 5, 7 (Tab. 2) are 9, 25, 49.
    """

    top: int = 9

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top {self.top}: must be at least 1 point a level")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        candidates = nearest_points(anchors, truth, self.top)
        boxes = truth.boxes[:, :, None]
        overlap = iou(anchors.boxes[candidates.anchor].to(boxes.dtype), boxes)
        sides = boxes_to_distances(anchors.points[candidates.anchor].to(boxes.dtype), boxes)
        is_positive = (overlap >= mean_plus_std(overlap, candidates.valid)) & (sides.amin(-1) > INSIDE_MARGIN)
        positives = pack(Candidates(candidates.anchor, candidates.valid & is_positive), len(anchors.points))
        claims = Claims.none(truth, len(anchors.points))
        claims.add(positives, positives.box, overlap.flatten()[positives.slot], positives.real)
        return claims.assignment()


def mean_plus_std(values: Tensor, valid: Tensor) -> Tensor:
    """(..., K) -> (..., 1) mean and unbiased standard deviation, added up; a single value has a deviation of 0."""
    count = valid.sum(-1, keepdim=True)
    mean = (values * valid).sum(-1, keepdim=True) / count.clamp(min=1)
    squares = ((values - mean).square() * valid).sum(-1, keepdim=True)
    return mean + (squares / (count - 1).clamp(min=1)).sqrt()
