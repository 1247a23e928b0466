"""Path-aggregation network, in YOLOX's layout: down the pyramid, and up again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otadet.models.csp import ConvBlock, CSPBlock, conv3x3


class PAFPN(nn.Module):
    """The maps of a backbone -> as many, of the same channels and strides (Liu et al., 2018).

    Args:
        in_channels, in_strides: `channels` and `strides` of the backbone, finest first, each stride twice the last.
        depth: as in `CSPDarknet`.
        depthwise: as there.
    """

    def __init__(
        self, in_channels: Sequence[int], in_strides: Sequence[int], depth: float, *, depthwise: bool = False
    ) -> None:
        super().__init__()
        if any(coarse != 2 * fine for fine, coarse in pairwise(in_strides)):
            raise ValueError(f"strides {tuple(in_strides)}: each must be twice the one before")
        self.strides, self.channels = tuple(in_strides), tuple(in_channels)
        repeats = round(3 * depth)
        steps = list(pairwise(in_channels))
        # All of these are in the order finest first.
        self.laterals = nn.ModuleList(ConvBlock(coarse, fine, 1) for fine, coarse in steps)
        self.top_down = nn.ModuleList(
            CSPBlock(2 * fine, fine, repeats, shortcut=False, depthwise=depthwise) for fine, _ in steps
        )
        self.strided = nn.ModuleList(conv3x3(fine, fine, 2, depthwise=depthwise) for fine, _ in steps)
        self.bottom_up = nn.ModuleList(
            CSPBlock(2 * fine, coarse, repeats, shortcut=False, depthwise=depthwise) for fine, coarse in steps
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps (N, channels[l], ., .), finest first -> the same shapes."""
        down, reduced = features[-1], []
        for level in range(len(self.laterals) - 1, -1, -1):
            reduced.append(self.laterals[level](down))
            upsampled = F.interpolate(reduced[-1], scale_factor=2.0, mode="nearest")
            down = self.top_down[level](torch.cat((upsampled, features[level]), 1))
        pyramid = [down]
        for level, lateral in enumerate(reversed(reduced)):
            up = torch.cat((self.strided[level](pyramid[-1]), lateral), 1)
            pyramid.append(self.bottom_up[level](up))
        return pyramid
