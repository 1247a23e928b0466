"""Focal loss of logits (Lin et al., 2017), element by element."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Softplus = Callable[[Tensor], Tensor]
"""`log(1 + exp(x))`."""


def focal_positive(logits: Tensor, alpha: float = 0.25, gamma: float = 2.0, softplus: Softplus = F.softplus) -> Tensor:
    """The loss against the target 1."""
    return alpha * torch.sigmoid(-logits) ** gamma * softplus(-logits)


def focal_negative(logits: Tensor, alpha: float = 0.25, gamma: float = 2.0, softplus: Softplus = F.softplus) -> Tensor:
    """The loss against the target 0."""
    return (1 - alpha) * torch.sigmoid(logits) ** gamma * softplus(logits)


def focal_soft(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The loss against a target in 0-1: quality focal loss (Li et al., 2020), balanced by alpha.

    Against 0 and 1 it is that of the two above, and 0 where the probability is the target.
    """
    balance = alpha * target + (1 - alpha) * (1 - target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return balance * (target - torch.sigmoid(logits)).abs() ** gamma * entropy
