"""Batch norm that does not train."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d


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
