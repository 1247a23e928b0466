"""Max IoU: anchor boxes by their overlap with the objects, as in RetinaNet (Lin et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.chunks import chunks, pairs_at_once
from otadet.assigners.ops.grids import Region
from otadet.assigners.ops.overlap import lower_bound_of_best_iou, reach_of, region_of_iou
from otadet.assigners.ops.ties import Contest
from otadet.boxes import iou
from otadet.structures import BACKGROUND, IGNORED, Anchors, Assignment, Predictions


@dataclass(frozen=True)
class MaxIoUAssigner(Assigner):
    """An anchor answers for the object that its anchor box overlaps most, if by enough.

    1. Candidates: the anchors whose boxes overlap the object; the predictions have no influence.
    2. An object wants the anchors with an IoU of `positive` or more and, with `low_quality`, those that overlap it most
       (all of them, if several do so equally), whatever the IoU.
    3. An anchor that some object wants goes to the object that it overlaps most, be it another one.
    4. Of the others, those with an IoU of `negative` or more are ignored, the rest is background.

    As in RetinaNet's released code. An object that no anchor box overlaps gets none.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,), scale=2)([torch.empty(1, 1, 1, 4)])
    >>> truth = GroundTruth(torch.tensor([[4.0, -4, 20, 12], [26.0, -4, 42, 12]]), torch.tensor([0, 0]))
    >>> predictions = Predictions(torch.zeros(1, 4, 1), torch.zeros(1, 4, 4))

    The first object is the box of anchor 1, the second has an IoU of 0.45 with that of anchor 3:

    >>> MaxIoUAssigner()(predictions, anchors, [truth]).gt_index
    tensor([[-1,  0, -1,  1]])
    >>> MaxIoUAssigner(low_quality=False)(predictions, anchors, [truth]).gt_index
    tensor([[-1,  0, -1, -2]])
    """

    gives_scores = False

    positive: float = 0.5
    """Smallest IoU of a positive anchor, 0-1."""
    negative: float = 0.4
    """Smallest IoU of an anchor that is not background, above 0."""
    low_quality: bool = True
    """Whether every object also gets the anchors that overlap it most."""

    def __post_init__(self) -> None:
        if not 0 < self.negative <= self.positive <= 1:
            raise ValueError(f"negative {self.negative}, positive {self.positive}: need 0 < negative <= positive <= 1")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        contest = Contest.empty(truth, len(anchors.points))
        anchor_boxes = anchors.boxes.to(truth.boxes.dtype)
        for chunk in chunks(anchors, truth, self._region(anchors, truth), pairs_at_once(predictions)):
            pairs = chunk.pairs
            of_anchor = anchor_boxes.index_select(0, pairs.anchor_row.remainder(len(anchor_boxes)))
            ious = iou(of_anchor, chunk.truth.boxes[0].index_select(0, pairs.gt_row))
            overlaps = ious > 0
            contest.compete(chunk.in_batch(pairs), ious, overlaps)
            wanted = ious >= self.positive
            if self.low_quality:
                wanted |= (ious == pairs.largest_per_box(ious, start=0.0)) & overlaps
            contest.claim(pairs, wanted & pairs.valid)
        is_unwanted = contest.count == 0
        gt_index = contest.winner.masked_fill_(is_unwanted, BACKGROUND)
        gt_index.masked_fill_(is_unwanted & (contest.value >= self.negative), IGNORED)
        return Assignment(gt_index, contest.count > 1)

    def _region(self, anchors: Anchors, truth: PaddedTruth) -> Region:
        """A region that holds every pair that can change the result.

        IoU of at least `negative`, each object's best anchors, and any other object that may overlap those more.
        """
        reach = reach_of(anchors, truth.boxes.dtype)
        threshold = truth.boxes.new_full((len(truth.boxes), len(anchors.level_sizes)), self.negative)
        if self.low_quality:
            threshold = threshold.minimum(lower_bound_of_best_iou(anchors, truth, reach))
        return region_of_iou(truth, reach, threshold[:, None])
