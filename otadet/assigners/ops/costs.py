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
from otadet.assigners.ops.inputs import MAX_COORDINATE, MAX_COST, MAX_LOGIT, limit_, on_host
from otadet.assigners.ops.pairs import Pairs
from otadet.assigners.ops.used import number_used_anchors
from otadet.boxes import giou, iou
from otadet.focal import focal_negative, focal_positive
from otadet.structures import Predictions

IOU_EPS = torch.finfo(torch.float32).eps
"""Smallest IoU whose logarithm is taken, as in the released code."""

CHUNK = 1 << 17
"""Logits that `BackgroundCosts` looks at in one go, on a CPU."""


def _softplus(logits: Tensor) -> Tensor:
    """`log(1 + exp(logits))` up to the absolute precision of the number format, without a gradient.

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
    """Weight of the target 1; that of the target 0 is 1 - alpha."""
    gamma: float = 2.0
    """Exponent of the weight by which easy logits count less."""

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
    """Regression loss of a pair."""

    @abstractmethod
    def __call__(self, values: PairValues) -> Tensor:
        """(P,) from the boxes of the pairs, `values.boxes` and `values.gt_boxes`, or their `values.iou`."""


@dataclass(frozen=True)
class IoUCost(BoxCost):
    """`-log(IoU)` (Yu et al., 2016)."""

    eps: float = IOU_EPS
    """Smallest IoU whose logarithm is taken."""

    def __call__(self, values: PairValues) -> Tensor:
        return -values.iou.clamp(min=self.eps).log()


@dataclass(frozen=True)
class GIoUCost(BoxCost):
    """`1 - GIoU` (Rezatofighi et al., 2019)."""

    def __call__(self, values: PairValues) -> Tensor:
        return 1 - giou(values.boxes, values.gt_boxes)


@dataclass(frozen=True)
class PairValues:
    """What the network predicts at the pairs, in the assigner's precision, and the truth beside it."""

    logits: Tensor
    """(P,) logit of the box's class."""
    quality: Tensor | None
    """(P,) quality logit."""
    boxes: Tensor
    """(P, 4) predicted boxes."""
    gt_boxes: Tensor
    """(P, 4) true boxes."""
    iou: Tensor
    """(P,) IoU of the two."""


def gather(predictions: Predictions, truth: PaddedTruth, pairs: Pairs) -> PairValues:
    """The predictions and the truth at the pairs; nothing of size A x C is made.

    What is not finite or too large to compute with is limited (`inputs.limit_`).
    """
    dtype, num_classes = truth.boxes.dtype, predictions.logits.shape[-1]
    label = truth.labels.flatten()[pairs.gt_row]
    logits = limit_(predictions.logits.reshape(-1)[pairs.anchor_row * num_classes + label].to(dtype), MAX_LOGIT)
    quality = None
    if predictions.quality is not None:
        quality = limit_(predictions.quality.reshape(-1)[pairs.anchor_row].to(dtype), MAX_LOGIT)
    boxes = limit_(predictions.boxes.reshape(-1, 4).index_select(0, pairs.anchor_row).to(dtype), MAX_COORDINATE)
    gt_boxes = truth.boxes.view(-1, 4).index_select(0, pairs.gt_row)
    return PairValues(logits, quality, boxes, gt_boxes, iou(boxes, gt_boxes))


def relative_cost(values: PairValues, class_cost: ClassCost, box_cost: BoxCost, iou_weight: float) -> Tensor:
    """(P,) `c_ij - c_bg,j`: Eq. 2 less Eq. 3."""
    positive = class_cost.positive(values.logits, values.quality)
    negative = class_cost.negative(values.logits, values.quality)
    return positive - negative + iou_weight * box_cost(values)


class BackgroundCosts:
    """`c_bg,j` (Eq. 3), the loss of all of an anchor's logits against zeros, computed once per anchor.

    On a CPU only for the anchors that are asked for; on an accelerator for all, as finding out which would force a
    sync. Some anchors at a time, so that it needs less memory than the logits.
    """

    def __init__(self, predictions: Predictions, class_cost: ClassCost) -> None:
        self._logits = predictions.logits.reshape(-1, predictions.logits.shape[-1])
        self._quality = quality = None if predictions.quality is None else predictions.quality.reshape(-1, 1)
        self._class_cost = class_cost
        self._known = self._logits.new_full((len(self._logits),), torch.nan, dtype=torch.float32)
        self._is_fresh = True
        if not on_host(self._logits):
            step = max(1, max(CHUNK, self._logits.numel() // 16) // self._logits.shape[1])
            for start in range(0, len(self._logits), step):
                part = slice(start, start + step)
                self._known[part] = self._cost(self._logits[part], None if quality is None else quality[part])

    def at(self, pairs: Pairs) -> Tensor:
        """(P,) in float32."""
        if on_host(self._known):
            unknown = number_used_anchors(pairs).anchor_rows(pairs)
            if not self._is_fresh:
                unknown = unknown[self._known[unknown].isnan()]
            self._is_fresh = False
            for part in unknown.split(max(1, CHUNK // self._logits.shape[1])):
                quality = None if self._quality is None else self._quality.index_select(0, part)
                self._known.index_copy_(0, part, self._cost(self._logits.index_select(0, part), quality))
        return self._known.index_select(0, pairs.anchor_row)

    def _cost(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """(., C), (., 1) -> (.,)"""
        quality = None if quality is None else quality.float()
        return limit_(self._class_cost.negative(logits.float(), quality).sum(-1), MAX_COST)


def dynamic_k(ious: Tensor, top_q: int) -> Tensor:
    """(N, G, K) IoUs -> (N, G): `max(1, floor(sum of the top q))` (Sec. 3.3)."""
    best = ious.topk(min(top_q, ious.shape[-1]), dim=-1, sorted=False).values
    return best.sum(-1).floor().clamp(min=1)


def supplies(ious: Tensor, truth: PaddedTruth, pairs: Pairs, k: int | None, top_q: int) -> Tensor:
    """(N, G) labels that each box supplies: the fixed `k`, else dynamic k from the (P,) IoUs; 0 where no box is."""
    supply = dynamic_k(pairs.table(ious, 0.0), top_q) if k is None else torch.full_like(truth.boxes[..., 0], k)
    return torch.where(truth.valid, supply, 0)
