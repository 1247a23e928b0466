"""Batch norm that does not train, and what old files leave out of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

_NORM = re.compile(r"(?:^|\.)(?:bn\d|downsample\.1)\.weight$")
"""Of a ResNet, by torchvision's names."""


class FrozenNorm(FrozenBatchNorm2d):
    """torchvision's `FrozenBatchNorm2d`, with the same weights, and without its two copies of the feature map.

    It overwrites its input, so it must follow what does not need its own output again, as a convolution does not.
    Features in half precision stay so, as with a batch norm that trains.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape; in float32 in the same memory."""
        if x.dtype != self.weight.dtype:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x.mul_(scale.view(1, -1, 1, 1)).add_(shift.view(1, -1, 1, 1))


def with_statistics(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a ResNet, by torchvision's names, with statistics that change nothing where a norm has none: in
    the oldest files they are folded into its weight and bias."""
    found = dict(state)
    for name in filter(_NORM.search, state):
        mean, variance = (name.removesuffix("weight") + end for end in ("running_mean", "running_var"))
        if mean not in state and variance not in state:
            found[mean], found[variance] = torch.zeros_like(state[name]), torch.ones_like(state[name])
    return found
