"""From 0-255 pixels to what the network sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelNorm(nn.Module):
    """`(images - mean) / std` per channel, on whatever device the images are.

    mean, std: three numbers each, RGB, on the 0-255 scale. They travel with the `InputSpec`, not with the weights, so
    they are no part of the state dict. memory_format: of the result, whatever that of the images is. Raises
    `ValueError` for other numbers.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or not all(value > 0 for value in std):
            raise ValueError(f"mean and std are three RGB numbers on the 0-255 scale, std > 0; got {mean} and {std}")
        self.memory_format = memory_format
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0-255, uint8 or float, of any memory format -> (N, 3, H, W) float32 of its own."""
        mean, std = (buffer.to(images.device, torch.float32) for buffer in (self.mean, self.std))
        return (images.to(torch.float32, memory_format=self.memory_format) - mean) / std
