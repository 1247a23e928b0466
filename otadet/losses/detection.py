"""The training loss: an assigner's answer -> named losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners.base import Assigner
from otadet.assigners.ops.inputs import check_batch
from otadet.boxes import boxes_to_distances, giou, iou
from otadet.losses.class_loss import ClassLoss, FocalLoss
from otadet.losses.common import SummedLoss, Sums, counts_of, in_float32, targets_of, weighted
from otadet.structures import BACKGROUND, Anchors, Assignment, GroundTruth, Predictions

QualityTarget = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Points (A, 2), predicted and true boxes (N, A, 4) -> (N, A) in 0-1, what the quality is trained towards."""

BOX_WEIGHTINGS = ("none", "quality")
"""What a positive anchor's box loss can be weighted by."""

LEAST_QUALITY = 1e-6
"""Least sum of qualities that the box loss is divided by, so that it is 0 where no positive has any."""


def iou_target(points: Tensor, predicted: Tensor, boxes: Tensor) -> Tensor:
    """The IoU of the predicted box (Sec. 4.1)."""
    return iou(predicted, boxes)


def centerness_target(points: Tensor, predicted: Tensor, boxes: Tensor) -> Tensor:
    """How central the point lies in its box: FCOS's centre-ness, 0 outside (Tian et al., 2019)."""
    left_top, right_bottom = boxes_to_distances(points, boxes).clamp(min=0).split(2, dim=-1)
    smaller, larger = torch.minimum(left_top, right_bottom), torch.maximum(left_top, right_bottom)
    return (smaller / larger.clamp(min=torch.finfo(larger.dtype).tiny)).prod(-1).sqrt()


class DetectionLoss(SummedLoss):
    """Class loss, GIoU loss on the boxes, cross entropy of the quality with its target (Sec. 4.1).

    Each is divided by the number of positive anchors, averaged over the ranks and at least 1, and weighted. Everything
    is computed in float32, whatever the precision of the network, and without waiting for the device.

    Where the assigner gives scores, classes are trained towards them, a positive anchor's box and quality losses count
    by its score, and the sum of the scores takes the place of the number of positives.

    With `box_weighting` "quality" a positive anchor's box loss counts by its quality target, and the box loss is
    divided by the sum of those weights, averaged over the ranks, instead of by the number of positives; no gradient
    goes through the weights. As released:

    ====  ==========  ==============  =====================  =============
    rule  box_weight  quality_weight  quality_target         box_weighting
    ====  ==========  ==============  =====================  =============
    OTA   2           0.5             `iou_target`           "none"
    FCOS  1           1               `centerness_target`    "quality"
    ATSS  2           1               `centerness_target`    "quality"
    PAA   1.3         0.5             `iou_target`           "quality"
    ====  ==========  ==============  =====================  =============

    Args:
        assigner: says which object each anchor answers for; `IGNORED` anchors are in no loss. Each anchor counts by
            its weight, where the assigner gives any.
        class_loss: of the logits; the focal loss by default.
        box_weight: of the box loss.
        quality_weight: of the cross entropy of the quality.
        quality_target: what the quality is trained towards.
        box_weighting: "none" or "quality", see above; anything else raises `ValueError`.
    """

    terms = ("cls", "box", "quality")
    """The last one of a network with such a branch."""

    def __init__(
        self,
        assigner: Assigner,
        class_loss: ClassLoss | None = None,
        box_weight: float = 2.0,
        quality_weight: float = 0.5,
        quality_target: QualityTarget = iou_target,
        box_weighting: str = "none",
    ) -> None:
        super().__init__()
        if box_weighting not in BOX_WEIGHTINGS:
            raise ValueError(f"box_weighting {box_weighting!r}: choose {' or '.join(map(repr, BOX_WEIGHTINGS))}")
        self.assigner = assigner
        self.quality_target, self.box_weighting = quality_target, box_weighting
        self.class_loss = FocalLoss() if class_loss is None else class_loss
        self.box_weight, self.quality_weight = box_weight, quality_weight

    @property
    def has_one_divisor(self) -> bool:
        return self.box_weighting == "none"

    def sums(self, predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> Sums:
        """Terms "cls", "box" and, where the network has such a branch, "quality".

        Divided, they are finite where the predictions are, and below 1e9. Raises `ValueError` as the assigner does.
        """
        check_batch(predictions, anchors, truths)
        with torch.autocast(predictions.boxes.device.type, enabled=False):
            predictions = in_float32(predictions)
            assignment = self.assigner(predictions, anchors, truths)
            return self._sums(predictions, anchors, assignment, truths)

    def divisors(self, amounts: Tensor) -> dict[str, Tensor]:
        normalizer = amounts[0].clamp(min=1)
        total = normalizer if self.has_one_divisor else amounts[1].clamp(min=LEAST_QUALITY)
        return {"cls": normalizer, "box": total, "quality": normalizer}

    def _sums(
        self, predictions: Predictions, anchors: Anchors, assignment: Assignment, truths: Sequence[GroundTruth]
    ) -> Sums:
        positive = assignment.gt_index >= 0
        counts = counts_of(positive, assignment)
        labels, boxes = targets_of(assignment.gt_index, truths)
        # Both arguments are the same box at an anchor without an object: no gradient, and nothing that could be NaN.
        predicted = torch.where(positive[..., None], predictions.boxes, boxes)
        is_weighted = not self.has_one_divisor
        target = counts
        if is_weighted or predictions.quality is not None:
            target = self.quality_target(anchors.points, predicted.detach(), boxes) * positive
        weight = target * counts if is_weighted else counts
        terms = {
            "cls": self._class_loss(predictions.logits, assignment, labels, counts),
            "box": self.box_weight * weighted((1 - giou(predicted, boxes)) * weight, assignment).sum(),
        }
        if predictions.quality is not None:
            entropy = F.binary_cross_entropy_with_logits(predictions.quality, target, reduction="none")
            terms["quality"] = self.quality_weight * weighted(entropy * counts, assignment).sum()
        return Sums(terms, torch.stack((counts.sum(), weight.sum())) if is_weighted else counts.sum()[None])

    def _class_loss(self, logits: Tensor, assignment: Assignment, labels: Tensor, counts: Tensor) -> Tensor:
        """Sum over all logits: their loss towards 0, and the difference that the positive ones make.

        counts: (N, A) the scores, 0 at an anchor without an object, or ones where the assigner gives none.
        """
        gt_index, loss = assignment.gt_index, self.class_loss
        counted = weighted((gt_index >= BACKGROUND).to(logits.dtype), assignment)
        background = (loss.negative(logits).sum(-1) * counted).sum()
        hit = logits.gather(2, labels[..., None]).squeeze(-1)
        difference = loss.difference(hit, None if assignment.score is None else counts)
        return background + weighted(difference * (gt_index >= 0), assignment).sum()
