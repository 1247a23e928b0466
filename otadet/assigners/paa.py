"""PAA: probabilistic anchor assignment (Kim and Lee, 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.max_iou import MaxIoUAssigner
from otadet.assigners.ops.background import BackgroundCosts
from otadet.assigners.ops.chunks import pairs_at_once
from otadet.assigners.ops.costs import BoxCost, ClassCost, FocalCost, GIoUCost, relative_cost
from otadet.assigners.ops.gmm import fit_mixtures
from otadet.assigners.ops.grids import level_of_anchors
from otadet.assigners.ops.inputs import on_host
from otadet.assigners.ops.pairs import Pairs, owned
from otadet.assigners.ops.values import gather
from otadet.boxes import iou
from otadet.structures import Anchors, Assignment, Predictions


@dataclass(frozen=True)
class PAAAssigner(Assigner):
    """Split each box's likeliest anchors in two by a mixture of two Gaussians over their joint loss.

    As in the released code:

    1. An anchor belongs to the box that its anchor box overlaps most, if their IoU is `threshold` or more or no anchor
       overlaps that box more.
    2. The joint loss of a pair is class loss + `iou_weight` * box loss.
    3. Candidates: of a box's anchors the `topk` of each level with the least joint loss.
    4. A mixture of two Gaussians is fitted to their losses. Positive are those with no more loss than the likeliest
       candidate of the better component has (Fig. 3 (c) of their paper).

    A box whose anchors all overlap another one more gets none. A positive anchor is ambiguous if, by its IoU and its
    joint loss, it would be positive for another box as well, had Max IoU not given it away.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,), scale=2)([torch.empty(1, 1, 1, 4)])
    >>> truth = GroundTruth(torch.tensor([[4.0, -4, 28, 12]]), torch.tensor([0]))

    Points 0 to 3 overlap the box; the network is sure of points 1 and 2, equally:

    >>> predictions = Predictions(torch.tensor([[[-4.0], [3], [3], [-4]]]), truth.boxes[[0, 0, 0, 0]][None])
    >>> PAAAssigner()(predictions, anchors, [truth]).gt_index
    tensor([[-1,  0,  0, -1]])
    """

    gives_scores = False

    threshold: float = 0.1
    """Smallest IoU of an anchor box with the box that it belongs to, above 0."""
    topk: int = 9
    """Candidates per box and level. Tab. 2's r = 3, 5, 7 are 9, 25, 49."""
    iou_weight: float = 1.0
    """Weight of the box loss beside the class loss."""
    class_cost: ClassCost = field(default_factory=FocalCost)
    """Loss of a logit against 0 and 1."""
    box_cost: BoxCost = field(default_factory=GIoUCost)
    """Loss of a predicted box."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold}: must be an IoU above 0, up to 1")
        if self.topk < 1:
            raise ValueError(f"topk {self.topk}: must be at least 1 anchor per level")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        owner = MaxIoUAssigner(self.threshold, self.threshold).assign(predictions, anchors, truth).gt_index
        pairs = owned(owner, truth.valid.shape[1])
        background = BackgroundCosts(predictions, self.class_cost.negative)
        loss = self._relative_loss(predictions, anchors, truth, pairs) + background.at(pairs)
        level = level_of_anchors(anchors)[pairs.anchor_index]
        candidates, place = pairs.cheapest_per_group(loss, self.topk, level, len(anchors.level_sizes))
        loss = loss[place]
        limit = positive_limit(candidates.table(loss, torch.inf).flatten(0, 1))
        positives = candidates.only(loss <= limit[candidates.gt_row])
        wanted = self._wanted_by_others(predictions, anchors, truth, positives, limit, background.at(positives))
        return Assignment(positives.first_box(positives.valid), positives.any_of_anchor(wanted))

    def _relative_loss(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, pairs: Pairs) -> Tensor:
        """(P,) joint loss, less the class loss that the anchor has as background."""
        values = gather(predictions, anchors, truth, pairs)
        return relative_cost(values, self.class_cost, self.box_cost, self.iou_weight)

    def _wanted_by_others(
        self,
        predictions: Predictions,
        anchors: Anchors,
        truth: PaddedTruth,
        positives: Pairs,
        limit: Tensor,
        background: Tensor,
    ) -> Tensor:
        """(P,) whether a positive pair's anchor would be positive for another box too.

        Args:
            predictions: joint losses are computed from them.
            anchors: whose boxes must overlap the other box by `threshold`.
            truth: the boxes.
            positives: the pairs.
            limit: (N * G,) largest loss that is positive for each box.
            background: (P,) class loss of the pair's anchor as background.
        """
        num_boxes = truth.valid.shape[1]
        parts = torch.arange(len(positives.gt_row), device=limit.device).split(
            max(1, pairs_at_once(predictions) // (2 * num_boxes))
        )
        wanted = []
        for part in parts:
            row, others = _other_boxes(positives, part, anchors, truth, self.threshold)
            loss = self._relative_loss(predictions, anchors, truth, others) + background[part][row]
            would_be = others.valid & (loss <= limit[others.gt_row])
            count = torch.zeros_like(part, dtype=torch.int32)
            wanted.append(count.index_add_(0, row, would_be.to(torch.int32)) > 0)
        return torch.cat(wanted) if wanted else positives.valid


def positive_limit(losses: Tensor) -> Tensor:
    """(R, K) joint losses of candidates, infinite in the padding -> (R,) the largest that is positive.

    The limit is the loss of the most likely candidate among those that belong to the low-loss component. If none does,
    every candidate is positive. -inf without candidates.
    """
    valid = losses < torch.inf
    low_loss, high_loss = fit_mixtures(losses, valid).log_joint(torch.where(valid, losses, 0))
    better = (low_loss >= high_loss) & valid
    density = torch.where(better, torch.logaddexp(low_loss, high_loss), -torch.inf)
    likeliest = better & (density == density.amax(1, keepdim=True))
    limit = torch.where(likeliest, losses, torch.inf).amin(1)
    largest = torch.where(valid, losses, -torch.inf).amax(1)
    return torch.where(better.any(1), limit, largest)


def _other_boxes(
    positives: Pairs, part: Tensor, anchors: Anchors, truth: PaddedTruth, threshold: float
) -> tuple[Tensor, Pairs]:
    """The anchors of some positives paired with the other boxes that their anchor boxes overlap by `threshold`.

    Also (P,) int64, each pair's place in `part`.
    """
    num_boxes, device = truth.valid.shape[1], part.device
    gt_row = positives.image[part, None] * num_boxes + torch.arange(num_boxes, device=device)
    anchor_row = positives.anchor_row[part]
    anchor_boxes = anchors.boxes.to(truth.boxes.dtype)[anchor_row.remainder(positives.num_anchors)]
    ious = iou(anchor_boxes[:, None], truth.boxes.flatten(0, 1)[gt_row])
    valid = (ious >= threshold) & (gt_row != positives.gt_row[part, None]) & truth.valid.flatten()[gt_row]
    valid = (valid & positives.valid[part, None]).flatten()
    place = valid.nonzero().squeeze(1) if on_host(valid) else torch.arange(len(valid), device=device)
    row = place.div(num_boxes, rounding_mode="floor")
    size = (*positives.table_size[:2], 0)
    return row, Pairs(gt_row.flatten()[place], anchor_row[row], valid[place], place, size, positives.num_anchors)
