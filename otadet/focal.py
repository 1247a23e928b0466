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
