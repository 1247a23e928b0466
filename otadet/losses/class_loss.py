"""Class losses: what logits are trained by, towards the scores of positive anchors and towards 0 elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.errors import UserError
from otadet.focal import focal_negative, focal_positive, focal_soft
from otadet.limits import Limits
from otadet.part import Part

_EXPONENT = Limits(0, 100)


@dataclass(frozen=True)
class ClassLoss(Part):
    """An element-wise loss of logits in float32; a part of a `DetectionLoss`."""

    @abstractmethod
    def positive(self, logits: Tensor, score: Tensor | None) -> Tensor:
        """The loss of positive anchors' logits of their class, towards a score in 0-1 (of that shape); None: 1."""

    @abstractmethod
    def negative(self, logits: Tensor) -> Tensor:
        """The loss of all other logits, towards 0."""

    def difference(self, logits: Tensor, score: Tensor | None) -> Tensor:
        """`positive` less `negative`: what it changes in the loss that logits are trained towards a score."""
        return self.positive(logits, score) - self.negative(logits)


@dataclass(frozen=True)
class FocalLoss(ClassLoss):
    """Focal loss (Lin et al., 2017); towards a score between 0 and 1 quality focal loss balanced by alpha."""

    alpha: Annotated[float, Limits(0, 1)] = 0.25
    """Weight of the target 1; that of the target 0 is 1 - alpha."""
    gamma: Annotated[float, _EXPONENT] = 2.0
    """Exponent of the weight by which easy logits count less: 0, or at least 1."""

    def check(self) -> None:
        _check_exponent("gamma", self.gamma)

    def positive(self, logits: Tensor, score: Tensor | None) -> Tensor:
        if score is None:
            return focal_positive(logits, self.alpha, self.gamma)
        return focal_soft(logits, score, self.alpha, self.gamma)

    def negative(self, logits: Tensor) -> Tensor:
        return focal_negative(logits, self.alpha, self.gamma)


@dataclass(frozen=True)
class QFL(ClassLoss):
    """Quality focal loss (Li et al., Generalized Focal Loss, 2020): `abs(y - s)^beta BCE(s, y)`."""

    beta: Annotated[float, _EXPONENT] = 2.0
    """Exponent of the distance from the target, by which logits near it count less: 0, or at least 1."""

    def check(self) -> None:
        _check_exponent("beta", self.beta)

    def positive(self, logits: Tensor, score: Tensor | None) -> Tensor:
        if score is None:
            return _focused(-logits, self.beta)
        return (score - torch.sigmoid(logits)).abs() ** self.beta * _entropy(logits, score)

    def negative(self, logits: Tensor) -> Tensor:
        return _focused(logits, self.beta)


@dataclass(frozen=True)
class VFL(ClassLoss):
    """Varifocal loss (Zhang et al., 2021): `y BCE(s, y)`; towards 0 `alpha s^gamma BCE(s, 0)`.

    A positive anchor of score 0 is trained towards 0 as any other.
    """

    alpha: Annotated[float, Limits(0, 1)] = 0.75
    """Weight of the target 0."""
    gamma: Annotated[float, _EXPONENT] = 2.0
    """Exponent of the weight by which easy negative logits count less."""

    def positive(self, logits: Tensor, score: Tensor | None) -> Tensor:
        if score is None:
            return F.softplus(-logits)
        return torch.where(score > 0, score * _entropy(logits, score), self.negative(logits))

    def negative(self, logits: Tensor) -> Tensor:
        return self.alpha * _focused(logits, self.gamma)


@dataclass(frozen=True)
class MAL(ClassLoss):
    """Matchability-aware loss (Huang et al., DEIM, 2025): `BCE(s, y^gamma)`; towards 0 `s^gamma BCE(s, 0)`.

    A positive anchor of score 0 is trained towards 0 as any other.
    """

    gamma: Annotated[float, _EXPONENT] = 1.5
    """Exponent of the scores, and of the weight by which easy negative logits count less."""

    def positive(self, logits: Tensor, score: Tensor | None) -> Tensor:
        if score is None:
            return F.softplus(-logits)
        return torch.where(score > 0, _entropy(logits, score**self.gamma), self.negative(logits))

    def negative(self, logits: Tensor) -> Tensor:
        return _focused(logits, self.gamma)


@dataclass(frozen=True)
class BCE(ClassLoss):
    """Binary cross entropy, as in today's YOLOs."""

    def positive(self, logits: Tensor, score: Tensor | None) -> Tensor:
        return F.softplus(-logits) if score is None else _entropy(logits, score)

    def negative(self, logits: Tensor) -> Tensor:
        return F.softplus(logits)

    def difference(self, logits: Tensor, score: Tensor | None) -> Tensor:
        # It is linear in the target.
        return -logits if score is None else -logits * score


def _entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def _focused(logits: Tensor, exponent: float) -> Tensor:
    """`s^exponent BCE(s, 0)`, whose gradient is finite for any exponent, also where s is 0 in float32."""
    entropy = F.softplus(logits)
    # The logarithm of s is logits - entropy: nothing more is kept for the gradient.
    return (exponent * (logits - entropy)).exp() * entropy


def _check_exponent(name: str, value: float) -> None:
    if 0 < value < 1:
        raise UserError(f"{name} {value}: the gradient has no bound for an exponent between 0 and 1; set 0, 1 or more")
