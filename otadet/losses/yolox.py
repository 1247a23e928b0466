"""YOLOX's training loss (Ge et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners.base import Assigner
from otadet.assigners.ops.inputs import check_batch
from otadet.boxes import centers, iou
from otadet.losses.class_loss import BCE, ClassLoss
from otadet.losses.common import SummedLoss, Sums, counts_of, in_float32, targets_of, weighted
from otadet.structures import BACKGROUND, Anchors, GroundTruth, Predictions

_LEAST_SIDE = 1e-8
"""Strides: of sides whose logarithm is taken."""


class YOLOXLoss(SummedLoss):
    """A class loss, cross entropy of the objectness, `1 - IoU^2` of boxes, and near the end the L1 distance too.

    A positive anchor's class is trained towards the IoU of its box, or towards the assignment's score where it has one;
    its objectness towards 1, every other anchor's towards 0. Each is divided by the number of positive anchors,
    averaged over the ranks and at least 1. Where the assignment has scores, a positive anchor's box and L1 losses count
    by its score, and they and the class loss are divided by the sum of the scores. `IGNORED` anchors are in no loss.
    All is in float32, and nothing waits for the device.

    Args:
        assigner: says which object each anchor answers for.
        box_weight: of the IoU loss.
        l1_from: share of the training, 0-1, from which on the distance of the raw outputs (shift and logarithm of the
            sides, in strides) is added, as YOLOX does once mosaic has ended; 1: never.
        class_loss: of positive anchors' logits, the only ones that are trained; cross entropy by default, as in YOLOX.
    """

    terms = ("cls", "box", "quality", "l1")

    def __init__(
        self,
        assigner: Assigner,
        box_weight: float = 5.0,
        l1_from: float = 0.95,
        class_loss: ClassLoss | None = None,
    ) -> None:
        super().__init__()
        self.assigner, self.box_weight, self.l1_from = assigner, box_weight, l1_from
        self.class_loss = BCE() if class_loss is None else class_loss
        self._with_l1 = False

    def at_progress(self, progress: float) -> None:
        """From now on the loss is that of a training of which the share `progress` (0-1) is over."""
        self._with_l1 = progress >= self.l1_from

    @property
    def late_terms(self) -> dict[str, float]:
        """Term -> share of the training, 0-1, up to which it is 0."""
        return {"l1": self.l1_from}

    @property
    def has_one_divisor(self) -> bool:
        return not getattr(self.assigner, "gives_scores", True)

    def divisors(self, amounts: Tensor) -> dict[str, Tensor]:
        number, total = amounts.clamp(min=1).unbind()
        return {"cls": total, "box": total, "quality": number, "l1": total}

    def sums(self, predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> Sums:
        """Terms "cls", "box", "quality" and "l1", which is 0 until the last part of the training.

        Raises `ValueError` as the assigner does, and for predictions without a quality.
        """
        if predictions.quality is None:
            raise ValueError("these predictions have no quality, which is the objectness here")
        check_batch(predictions, anchors, truths)
        with torch.autocast(predictions.boxes.device.type, enabled=False):
            predictions = in_float32(predictions)
            assignment = self.assigner(predictions, anchors, truths)
            if assignment.score is not None and self.has_one_divisor:
                raise ValueError(f"{self.assigner}: gives scores, though its gives_scores is False")
            gt_index = assignment.gt_index
            positive = gt_index >= 0
            counts = counts_of(positive, assignment)
            present = counts if assignment.score is None else positive.to(torch.float32)
            labels, boxes = targets_of(gt_index, truths)
            # Both are the same box at an anchor without an object: no gradient, and nothing that could be NaN.
            predicted = torch.where(positive[..., None], predictions.boxes, boxes)
            overlap = iou(predicted, boxes)
            score = overlap.detach() if assignment.score is None else counts
            counted = weighted((gt_index >= BACKGROUND).to(torch.float32), assignment)
            terms = {
                "cls": self._class_loss(predictions.logits, labels, score) * weighted(present, assignment),
                "box": self.box_weight * (1 - overlap**2) * weighted(counts, assignment),
                "quality": _objectness_loss(predictions, present) * counted,
            }
            terms["l1"] = torch.zeros_like(counts)
            if self._with_l1:
                distance = (_raw(predicted, anchors) - _raw(boxes, anchors)).abs().sum(-1)
                terms["l1"] = torch.where(positive, distance, 0.0) * weighted(counts, assignment)
            # Both amounts whether there are scores or not, so that ranks with and without them wait for the same.
            amounts = torch.stack((present.sum(), counts.sum()))
            return Sums({name: term.sum() for name, term in terms.items()}, amounts)

    def _class_loss(self, logits: Tensor, labels: Tensor, score: Tensor) -> Tensor:
        """(N, A): each anchor's logits (N, A, C) against `score` (N, A) at its label and 0 elsewhere."""
        hit = logits.gather(2, labels[..., None]).squeeze(-1)
        return self.class_loss.negative(logits).sum(-1) + self.class_loss.difference(hit, score)


def _objectness_loss(predictions: Predictions, counts: Tensor) -> Tensor:
    assert predictions.quality is not None
    return F.binary_cross_entropy_with_logits(predictions.quality, counts, reduction="none")


def _raw(boxes: Tensor, anchors: Anchors) -> Tensor:
    """(N, A, 4) xyxy -> shift of the centre from the point, and logarithm of the sides, in strides."""
    strides = anchors.strides[:, None]
    shift = (centers(boxes) - anchors.points) / strides
    sides = (boxes[..., 2:] - boxes[..., :2]) / strides
    return torch.cat((shift, sides.clamp(min=_LEAST_SIDE).log()), -1)
