"""Blocks of the cross-stage partial networks of the YOLO family: what its backbone, neck and head are built from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm, SiLU; a map of `stride` times fewer cells per side."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        # YOLOX's: a fast network's statistics change little from batch to batch.
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        return F.silu(self.norm(self.conv(features)), inplace=True)


class SeparableBlock(nn.Module):
    """A `ConvBlock` in two: over space, each channel by itself, then over channels, each cell by itself."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvBlock(inputs, inputs, kernel, stride, groups=inputs)
        self.pointwise = ConvBlock(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """As `ConvBlock`."""
        return self.pointwise(self.depthwise(features))


def conv3x3(inputs: int, outputs: int, stride: int = 1, *, depthwise: bool = False) -> nn.Module:
    """A 3x3 block; depthwise: in two steps, as in the smallest of the family."""
    return SeparableBlock(inputs, outputs, 3, stride) if depthwise else ConvBlock(inputs, outputs, 3, stride)


class Bottleneck(nn.Module):
    """1x1, then 3x3; with a shortcut the input is added."""

    def __init__(self, channels: int, *, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        self.reduce = ConvBlock(channels, channels, 1)
        self.spatial = conv3x3(channels, channels, depthwise=depthwise)
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same shape."""
        changed = self.spatial(self.reduce(features))
        return changed + features if self.shortcut else changed


class CSPBlock(nn.Module):
    """Half of the channels go through bottlenecks, the other half past them (Wang et al., 2020)."""

    def __init__(
        self, inputs: int, outputs: int, bottlenecks: int, *, shortcut: bool = True, depthwise: bool = False
    ) -> None:
        super().__init__()
        half = outputs // 2
        self.main = ConvBlock(inputs, half, 1)
        self.bypass = ConvBlock(inputs, half, 1)
        self.bottlenecks = nn.Sequential(
            *(Bottleneck(half, shortcut=shortcut, depthwise=depthwise) for _ in range(bottlenecks))
        )
        self.merge = ConvBlock(2 * half, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        return self.merge(torch.cat((self.bottlenecks(self.main(features)), self.bypass(features)), 1))


class SpatialPyramid(nn.Module):
    """Maxima over 5, 9 and 13 cells beside the map itself: a view of the whole picture at the coarsest level."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = ConvBlock(channels, half, 1)
        self.merge = ConvBlock(4 * half, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same shape."""
        reduced = self.reduce(features)
        # A maximum over 9 cells is one over 5 of those over 5.
        over5 = F.max_pool2d(reduced, 5, 1, 2)
        over9 = F.max_pool2d(over5, 5, 1, 2)
        return self.merge(torch.cat((reduced, over5, over9, F.max_pool2d(over9, 5, 1, 2)), 1))
