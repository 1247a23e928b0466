"""Max IoU: anchor boxes by their overlap with the objects, as in RetinaNet (Lin et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.chunks import blocks, pairs_at_once
from otadet.assigners.ops.claims import Claims
from otadet.assigners.ops.grids import Region
from otadet.assigners.ops.overlap import least_best, overlapping, reach_of
from otadet.boxes import iou
from otadet.structures import BACKGROUND, IGNORED, Anchors, Assignment, Predictions


@dataclass(frozen=True)
class MaxIoUAssigner(Assigner):
    """An anchor answers for the object that its anchor box overlaps most, if by enough. The predictions have no say.

    As in RetinaNet's released code: an anchor whose largest IoU is `positive` or more is positive, one below `negative`
    is background, and one between the two is ignored. With `low_quality` the anchors that overlap an object most (all
    of them, if several do so equally) are positive too, whatever the IoU, and go, like all, to the object that they
    overlap most. An object that no anchor box overlaps gets none.

    An anchor is wanted by the objects with which it has an IoU of `positive`, and by those that it overlaps most.
    """

    positive: float = 0.5
    negative: float = 0.4
    low_quality: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.negative <= self.positive <= 1:
            raise ValueError(f"negative {self.negative}, positive {self.positive}: need 0 < negative <= positive <= 1")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        claims = Claims.none(truth, len(anchors.points))
        wanted = torch.zeros_like(claims.count)
        anchor_boxes = anchors.boxes.to(truth.boxes.dtype)
        for block in blocks(anchors, truth, self._region(anchors, truth), pairs_at_once(predictions)):
            pairs = block.pairs
            anchor = pairs.anchor.remainder(len(anchor_boxes))
            overlap = iou(anchor_boxes.index_select(0, anchor), block.truth.boxes[0].index_select(0, pairs.box))
            overlap = torch.where(pairs.real, overlap, 0)
            claims.add(pairs, block.row.index_select(0, pairs.box), overlap, overlap > 0)
            wants = overlap >= self.positive
            if self.low_quality:
                most = overlap.new_zeros(pairs.num_boxes).scatter_reduce_(0, pairs.box, overlap, "amax")
                wants |= (overlap == most.index_select(0, pairs.box)) & (overlap > 0)
            wanted.view(-1).index_add_(0, pairs.anchor, wants.to(wanted.dtype))
        is_not_positive = wanted == 0
        gt_index = claims.winner.masked_fill_(is_not_positive, BACKGROUND)
        gt_index.masked_fill_(is_not_positive & (claims.value >= self.negative), IGNORED)
        return Assignment(gt_index, wanted > 1)

    def _region(self, anchors: Anchors, truth: PaddedTruth) -> Region:
        """All pairs that have a say: what overlaps by `negative`, the best of each object, and what may overlap these
        more."""
        reach = reach_of(anchors, truth.boxes.dtype)
        threshold = truth.boxes.new_full((len(truth.boxes), len(anchors.level_sizes)), self.negative)
        if self.low_quality:
            threshold = threshold.minimum(least_best(anchors, truth, reach))
        return overlapping(truth, reach, threshold[:, None])
