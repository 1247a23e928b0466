"""The unit costs of Eq. 2 and 3, evaluated at candidate pairs only.

The cost of a class, summed over all classes against a one-hot target, is the cost of background plus the difference
that one class makes: `background_j + (positive - negative)[j, label_i]`. No (G, A, C) tensor is needed, and where only
costs relative to background matter, as in optimal transport, no sum over classes either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops.inputs import MAX_COORDINATE, MAX_COST, MAX_LOGIT, can_look, limit_
from otadet.assigners.ops.pairs import Pairs, number_columns
from otadet.boxes import giou, iou
from otadet.focal import focal_negative, focal_positive
from otadet.structures import Predictions

IOU_EPS = torch.finfo(torch.float32).eps
"""Smallest IoU whose logarithm is taken, as in the released code."""


BLOCK = 1 << 17
"""Logits that `BackgroundCosts` looks at in one go, on a CPU."""


def _softplus(logits: Tensor) -> Tensor:
    """`log(1 + exp(logits))` to the absolute precision of the number format, without a gradient.

    On a CPU three times as fast as torch's, whose log1p is not vectorised in float32.
    """
    return torch.sigmoid(-logits).clamp_(min=torch.finfo(logits.dtype).tiny).log_().neg_().maximum(logits)


class ClassCost(ABC):
    """Element-wise classification loss. `quality` is the anchor's quality logit, for costs that use it."""

    @abstractmethod
    def positive(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """Loss of each logit against the target 1."""

    @abstractmethod
    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """Loss of each logit against the target 0."""


@dataclass(frozen=True)
class FocalCost(ClassCost):
    """Focal loss (Lin et al., 2017)."""

    alpha: float = 0.25
    gamma: float = 2.0

    def positive(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return focal_positive(logits, self.alpha, self.gamma, _softplus)

    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return focal_negative(logits, self.alpha, self.gamma, _softplus)


@dataclass(frozen=True)
class BCECost(ClassCost):
    """Binary cross entropy."""

    def positive(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return F.softplus(-logits)

    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return F.softplus(logits)


@dataclass(frozen=True)
class JointBCECost(ClassCost):
    """Binary cross entropy of `sqrt(class * quality)`, as in YOLOX, whose objectness is the quality here."""

    def positive(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        # Like torch's binary_cross_entropy, no logarithm falls below -100.
        return (-self._log_probability(logits, quality)).clamp(max=100)

    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return (-torch.log1p(-torch.exp(self._log_probability(logits, quality)))).clamp(max=100)

    @staticmethod
    def _log_probability(logits: Tensor, quality: Tensor | None) -> Tensor:
        joint = F.logsigmoid(logits)
        return joint / 2 if quality is None else (joint + F.logsigmoid(quality)) / 2


class BoxCost(ABC):
    """Regression loss of a pair, from its boxes and their IoU."""

    @abstractmethod
    def __call__(self, predicted: Tensor, truth: Tensor, overlap: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class IoUCost(BoxCost):
    """`-log(IoU)` (Yu et al., 2016)."""

    eps: float = IOU_EPS

    def __call__(self, predicted: Tensor, truth: Tensor, overlap: Tensor) -> Tensor:
        return -overlap.clamp(min=self.eps).log()


@dataclass(frozen=True)
class GIoUCost(BoxCost):
    """`1 - GIoU` (Rezatofighi et al., 2019)."""

    def __call__(self, predicted: Tensor, truth: Tensor, overlap: Tensor) -> Tensor:
        return 1 - giou(predicted, truth)


@dataclass(frozen=True)
class PairValues:
    """What the network predicts at the pairs, in the assigner's precision, and the truth beside it."""

    logits: Tensor
    """(P,) logit of the box's class."""
    quality: Tensor | None
    """(P,) quality logit."""
    boxes: Tensor
    """(P, 4) predicted boxes."""
    truth: Tensor
    """(P, 4) true boxes."""
    overlap: Tensor
    """(P,) IoU of the two."""


def look_up(predictions: Predictions, truth: PaddedTruth, pairs: Pairs) -> PairValues:
    """Gather the predictions and the truth at the pairs; nothing of size A x C is made.

    What is not finite, or too large to reckon with, is limited (`inputs.limit_`).
    """
    dtype, num_classes = truth.boxes.dtype, predictions.logits.shape[-1]
    label = truth.labels.flatten()[pairs.box]
    logits = limit_(predictions.logits.reshape(-1)[pairs.anchor * num_classes + label].to(dtype), MAX_LOGIT)
    quality = None
    if predictions.quality is not None:
        quality = limit_(predictions.quality.reshape(-1)[pairs.anchor].to(dtype), MAX_LOGIT)
    boxes = limit_(predictions.boxes.reshape(-1, 4).index_select(0, pairs.anchor).to(dtype), MAX_COORDINATE)
    true_boxes = truth.boxes.view(-1, 4).index_select(0, pairs.box)
    return PairValues(logits, quality, boxes, true_boxes, iou(boxes, true_boxes))


def relative_cost(values: PairValues, class_cost: ClassCost, box_cost: BoxCost, iou_weight: float) -> Tensor:
    """(P,) `c_ij - c_bg,j`: Eq. 2 less Eq. 3."""
    positive = class_cost.positive(values.logits, values.quality)
    negative = class_cost.negative(values.logits, values.quality)
    return positive - negative + iou_weight * box_cost(values.boxes, values.truth, values.overlap)


class BackgroundCosts:
    """`c_bg,j` (Eq. 3), the loss of all of an anchor's logits against zeros, worked out once for an anchor.

    On a CPU only for the anchors that are asked for; elsewhere for all, as to know which would be a wait for the
    device. It is done a block of anchors at a time, so that what it needs stays below the size of the logits.
    """

    def __init__(self, predictions: Predictions, class_cost: ClassCost) -> None:
        self._logits = predictions.logits.reshape(-1, predictions.logits.shape[-1])
        self._quality = None if predictions.quality is None else predictions.quality.reshape(-1, 1)
        self._class_cost = class_cost
        self._known = self._logits.new_full((len(self._logits),), torch.nan, dtype=torch.float32)
        if not can_look(self._logits):
            self._work_out(torch.arange(len(self._logits), device=self._logits.device), self._logits.numel() // 16)

    def at(self, pairs: Pairs) -> Tensor:
        """(P,) in float32."""
        if can_look(self._known):
            anchor = number_columns(pairs).anchors(pairs)
            self._work_out(anchor[self._known[anchor].isnan()], BLOCK)
        return self._known.index_select(0, pairs.anchor)

    def _work_out(self, anchor: Tensor, at_once: int) -> None:
        for part in anchor.split(max(1, max(BLOCK, at_once) // self._logits.shape[1])):
            logits = self._logits.index_select(0, part).float()
            quality = None if self._quality is None else self._quality.index_select(0, part).float()
            cost = self._class_cost.negative(logits, quality).sum(-1)
            self._known.index_copy_(0, part, limit_(cost, MAX_COST))


def dynamic_k(overlap: Tensor, top_q: int) -> Tensor:
    """(N, G, K) IoUs -> (N, G): `max(1, floor(sum of the top q))` (Sec. 3.3)."""
    best = overlap.topk(min(top_q, overlap.shape[-1]), dim=-1, sorted=False).values
    return best.sum(-1).floor().clamp(min=1)


def supplies(overlap: Tensor, truth: PaddedTruth, pairs: Pairs, k: int | None, top_q: int) -> Tensor:
    """(N, G) labels that each box supplies: the fixed `k`, else dynamic k from the (P,) IoUs; 0 where no box is."""
    supply = dynamic_k(pairs.table(overlap, 0.0), top_q) if k is None else torch.full_like(truth.boxes[..., 0], k)
    return torch.where(truth.present, supply, 0)
