"""The exponential moving average of a model's weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class ModelEma:
    """A copy of a model that follows its weights slowly; it is what gets evaluated and used afterwards.

    decay: weight of the past at each update, in 0-1. The first updates use (1 + t) / (10 + t) where that is less, so
    that the random start is soon forgotten (t = iterations done before).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, iteration: int) -> None:
        """Move towards `model`. iteration: its number, 0 for the first update; buffers such as norm statistics too."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        averages: list[Tensor] = []
        targets: list[Tensor] = []
        for average, target in zip(_tensors(self.model), _tensors(model), strict=True):
            if average.is_floating_point():
                averages.append(average)
                targets.append(target)
            else:
                average.copy_(target)
        torch._foreach_lerp_(averages, targets, 1 - decay)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in model.state_dict().values()]
