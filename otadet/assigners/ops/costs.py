"""The unit costs of Eq. 2 and 3, evaluated at candidate pairs only.

The cost of a class, summed over all classes against a one-hot target, is the cost of background plus the difference
that one class makes: `background_j + (positive - negative)[j, label_i]`. No (G, A, C) tensor is needed, and where only
costs relative to background matter, as in optimal transport, no sum over classes either.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners.ops.values import PairValues
from otadet.boxes import giou
from otadet.focal import focal_negative, focal_positive

IOU_EPS = torch.finfo(torch.float32).eps
"""Smallest IoU whose logarithm is taken, as in the released code."""


def _softplus(logits: Tensor) -> Tensor:
    """`log(1 + exp(logits))` up to the absolute precision of the number format, without a gradient.

    On a CPU three times as fast as torch's, whose log1p is not vectorised in float32.
    """
    return torch.sigmoid(-logits).clamp_(min=torch.finfo(logits.dtype).tiny).log_().neg_().maximum(logits)


class ClassCost(ABC):
    """Element-wise classification loss."""

    @abstractmethod
    def positive(self, values: PairValues) -> Tensor:
        """(P,) loss of the pairs' logits, those of the boxes' classes, against the target of a positive anchor."""

    @abstractmethod
    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """Loss of each logit against the target 0. quality: the anchor's quality logit, for costs that use it."""


@dataclass(frozen=True)
class FocalCost(ClassCost):
    """Focal loss (Lin et al., 2017)."""

    alpha: float = 0.25
    """Weight of the target 1; that of the target 0 is 1 - alpha."""
    gamma: float = 2.0
    """Exponent of the weight by which easy logits count less."""

    def positive(self, values: PairValues) -> Tensor:
        return focal_positive(values.logits, self.alpha, self.gamma, _softplus)

    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return focal_negative(logits, self.alpha, self.gamma, _softplus)


@dataclass(frozen=True)
class BCECost(ClassCost):
    """Binary cross entropy."""

    def positive(self, values: PairValues) -> Tensor:
        return F.softplus(-values.logits)

    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return F.softplus(logits)


@dataclass(frozen=True)
class JointBCECost(ClassCost):
    """Binary cross entropy of `sqrt(class * quality)`, as in YOLOX, whose objectness is the quality here."""

    def positive(self, values: PairValues) -> Tensor:
        # Like torch's binary_cross_entropy, no logarithm falls below -100.
        return (-self._log_probability(values.logits, values.quality)).clamp(max=100)

    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return (-torch.log1p(-torch.exp(self._log_probability(logits, quality)))).clamp(max=100)

    @staticmethod
    def _log_probability(logits: Tensor, quality: Tensor | None) -> Tensor:
        joint = F.logsigmoid(logits)
        return joint / 2 if quality is None else (joint + F.logsigmoid(quality)) / 2


@dataclass(frozen=True)
class QFLCost(ClassCost):
    """Quality focal loss (Li et al., 2020) of class * quality against the pair's IoU, as in RTMDet."""

    beta: float = 2.0
    """Exponent of the distance from the target, by which logits near it count less."""

    def __post_init__(self) -> None:
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta {self.beta}: must be a number, and not below 0")

    def positive(self, values: PairValues) -> Tensor:
        log_score, log_rest = self._logarithms(values.logits, values.quality)
        entropy = -(values.iou * log_score + (1 - values.iou) * log_rest)
        return (values.iou - log_score.exp()).abs() ** self.beta * entropy

    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        log_score, log_rest = self._logarithms(logits, quality)
        return (self.beta * log_score).exp() * -log_rest

    @staticmethod
    def _logarithms(logits: Tensor, quality: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of the score, class * quality if there is one, and of 1 - score."""
        log_score, log_rest = F.logsigmoid(logits), F.logsigmoid(-logits)
        if quality is None:
            return log_score, log_rest
        # 1 - c q = (1 - c) + c (1 - q): no difference of numbers that are nearly equal.
        return log_score + F.logsigmoid(quality), torch.logaddexp(log_rest, log_score + F.logsigmoid(-quality))


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


class PriorCost(ABC):
    """Cost of where a pair's anchor lies, whatever the network predicts."""

    @abstractmethod
    def __call__(self, values: PairValues) -> Tensor:
        """(P,) from `values.distance`, `values.gt_boxes` and `values.anchors`; not below 0."""

    def reach(self, cost: Tensor) -> Tensor:
        """Strides from a box's centre beyond which every anchor costs more than this; inf where that is not known."""
        return torch.full_like(cost, torch.inf)


@dataclass(frozen=True)
class DistanceCost(PriorCost):
    """RTMDet's soft centre prior: `base^(distance - radius)`, of the point from the centre of the box, in strides."""

    base: float = 10.0
    """By how much a stride more multiplies the cost."""
    radius: float = 3.0
    """Strides at which the cost is 1."""

    def __post_init__(self) -> None:
        if not 1 < self.base < math.inf:
            raise ValueError(f"base {self.base}: must be a number above 1")
        if not math.isfinite(self.radius):
            raise ValueError(f"radius {self.radius}: must be a number of strides")

    def __call__(self, values: PairValues) -> Tensor:
        distance = values.distance
        # Up to the root of the largest number, so that a sum of costs is finite.
        most = math.log(torch.finfo(distance.dtype).max) / 2
        return ((distance - self.radius) * math.log(self.base)).clamp(max=most).exp()

    def reach(self, cost: Tensor) -> Tensor:
        return self.radius + cost.log() / math.log(self.base)


def relative_cost(values: PairValues, class_cost: ClassCost, box_cost: BoxCost, iou_weight: float) -> Tensor:
    """(P,) `c_ij - c_bg,j`: Eq. 2 less Eq. 3."""
    positive, negative = class_cost.positive(values), class_cost.negative(values.logits, values.quality)
    return positive - negative + iou_weight * box_cost(values)
