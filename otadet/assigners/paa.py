"""PAA: probabilistic anchor assignment (Kim and Lee, 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.max_iou import MaxIoUAssigner
from otadet.assigners.ops.candidates import Candidates
from otadet.assigners.ops.chunks import pairs_at_once
from otadet.assigners.ops.costs import (
    BackgroundCosts,
    BoxCost,
    ClassCost,
    FocalCost,
    GIoUCost,
    look_up,
    relative_cost,
)
from otadet.assigners.ops.gmm import fit_mixtures
from otadet.assigners.ops.grids import level_of_anchors
from otadet.assigners.ops.inputs import can_look
from otadet.assigners.ops.pairs import Pairs, pack
from otadet.boxes import iou
from otadet.structures import Anchors, Assignment, Predictions


@dataclass(frozen=True)
class PAAAssigner(Assigner):
    """Split each box's likeliest anchors in two by a mixture of two Gaussians over their joint loss.

    As in the released code: an anchor belongs to the box that its anchor box overlaps most, if their IoU is `threshold`
    or more or no anchor overlaps that box more. Of a box's anchors the `top` of each level with the least joint loss,
    class loss + `iou_weight` * box loss, are its candidates. Positive are those with no more loss than the likeliest
    candidate of the better component has (Fig. 3 (c) of their paper). A box whose anchors all overlap another one more
    gets none.

    Tab. 2's r = 3, 5, 7 are `top` = 9, 25, 49. A positive anchor is ambiguous if, by its IoU and its joint loss, it
    would be positive for another box as well, had Max IoU not given it away.
    """

    threshold: float = 0.1
    top: int = 9
    iou_weight: float = 1.0
    class_cost: ClassCost = field(default_factory=FocalCost)
    box_cost: BoxCost = field(default_factory=GIoUCost)

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold}: must be an IoU above 0, up to 1")
        if self.top < 1:
            raise ValueError(f"top {self.top}: must be at least 1 anchor a level")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        owner = MaxIoUAssigner(self.threshold, self.threshold).assign(predictions, anchors, truth).gt_index
        pairs = _owned(owner, truth)
        background = BackgroundCosts(predictions, self.class_cost)
        loss = self._relative_loss(predictions, truth, pairs) + background.at(pairs)
        candidates, losses = _least_of_each_level(loss, pairs, anchors, self.top)
        limit = positive_limit(losses.flatten(0, 1)).view(truth.present.shape)
        candidates = Candidates(candidates.anchor, candidates.valid & (losses <= limit[..., None]))
        positives = pack(candidates, len(anchors.points))
        wanted = self._wanted_by_others(predictions, anchors, truth, positives, limit, background.at(positives))
        return Assignment(positives.first_box(positives.real), positives.any_of_anchor(wanted))

    def _relative_loss(self, predictions: Predictions, truth: PaddedTruth, pairs: Pairs) -> Tensor:
        """(P,) joint loss, less the class loss that the anchor has as background."""
        return relative_cost(look_up(predictions, truth, pairs), self.class_cost, self.box_cost, self.iou_weight)

    def _wanted_by_others(
        self,
        predictions: Predictions,
        anchors: Anchors,
        truth: PaddedTruth,
        positives: Pairs,
        limit: Tensor,
        background: Tensor,
    ) -> Tensor:
        """(P,) whether a positive pair's anchor would be positive for another box too. limit: (N, G); background: (P,)
        the class loss as background."""
        num_boxes = truth.present.shape[1]
        parts = torch.arange(len(positives.box), device=limit.device).split(
            max(1, pairs_at_once(predictions) // (2 * num_boxes))
        )
        wanted = []
        for part in parts:
            row, others = _other_boxes(positives, part, anchors, truth, self.threshold)
            loss = self._relative_loss(predictions, truth, others) + background[part][row]
            would_be = others.real & (loss <= limit.flatten()[others.box])
            count = torch.zeros_like(part, dtype=torch.int32)
            wanted.append(count.index_add_(0, row, would_be.to(torch.int32)) > 0)
        return torch.cat(wanted) if wanted else positives.real


def _owned(owner: Tensor, truth: PaddedTruth) -> Pairs:
    """The pairs of each anchor with its owner (N, A), if it has one."""
    num_images, num_anchors = owner.shape
    num_boxes = truth.present.shape[1]
    real = (owner >= 0).flatten()
    anchor = real.nonzero().squeeze(1) if can_look(real) else torch.arange(len(real), device=real.device)
    image = anchor.div(num_anchors, rounding_mode="floor")
    box = image * num_boxes + owner.flatten()[anchor].clamp(min=0)
    return Pairs(box, anchor, real[anchor], anchor, (num_images, num_boxes, num_anchors), num_anchors)


def _least_of_each_level(loss: Tensor, pairs: Pairs, anchors: Anchors, top: int) -> tuple[Candidates, Tensor]:
    """The `top` pairs of each box and level with the least `loss` (P,), as a table, and their losses (N, G, K).

    K is `top` times the number of levels. The losses are infinite where a level has fewer.
    """
    num_levels = len(anchors.level_sizes)
    group = pairs.box * num_levels + level_of_anchors(anchors)[pairs.anchor.remainder(pairs.num_anchors)]
    group = torch.where(pairs.real, group, pairs.num_boxes * num_levels)
    order = loss.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    group = group[order]
    rank = torch.arange(len(group), device=group.device) - torch.searchsorted(group, group)
    places = pairs.num_boxes * num_levels * top
    slot = torch.where((rank < top) & pairs.real[order], group * top + rank, places)
    size = (*pairs.table_size[:2], num_levels * top)
    losses = loss.new_full((places + 1,), torch.inf).scatter_(0, slot, loss[order])[:-1].view(size)
    anchor = torch.zeros_like(losses, dtype=torch.int64).flatten()
    anchor = torch.cat((anchor, anchor[:1])).scatter_(0, slot, pairs.anchor[order].remainder(pairs.num_anchors))[:-1]
    return Candidates(anchor.view(size), losses < torch.inf), losses


def positive_limit(losses: Tensor) -> Tensor:
    """(R, K) joint losses of candidates, infinite where there is none -> (R,) the largest that is positive.

    It is that of the likeliest candidate among those that are likelier in the component of small losses; if there is
    no such candidate, all are positive. -inf without candidates.
    """
    valid = losses < torch.inf
    near, far = fit_mixtures(losses, valid).log_joint(torch.where(valid, losses, 0))
    better = (near >= far) & valid
    density = torch.where(better, torch.logaddexp(near, far), -torch.inf)
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
    num_boxes, device = truth.present.shape[1], part.device
    box = positives.image[part, None] * num_boxes + torch.arange(num_boxes, device=device)
    anchor = positives.anchor[part]
    anchor_boxes = anchors.boxes.to(truth.boxes.dtype)[anchor.remainder(positives.num_anchors)]
    overlap = iou(anchor_boxes[:, None], truth.boxes.flatten(0, 1)[box])
    real = (overlap >= threshold) & (box != positives.box[part, None]) & truth.present.flatten()[box]
    real = (real & positives.real[part, None]).flatten()
    place = real.nonzero().squeeze(1) if can_look(real) else torch.arange(len(real), device=device)
    row = place.div(num_boxes, rounding_mode="floor")
    others = Pairs(box.flatten()[place], anchor[row], real[place], place, positives.table_size, positives.num_anchors)
    return row, others
