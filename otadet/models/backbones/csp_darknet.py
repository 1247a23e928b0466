"""CSPDarknet, in YOLOX's layout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from otadet.models.csp import ConvBlock, CSPBlock, SpatialPyramid, conv3x3


class SpaceToDepth(nn.Module):
    """Each 2 x 2 cells become the channels of one, then a 3x3 block: a stem that loses nothing."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.block = ConvBlock(12, outputs, 3)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, outputs, H / 2, W / 2)."""
        left, right = images[..., ::2], images[..., 1::2]
        quarters = (left[..., ::2, :], left[..., 1::2, :], right[..., ::2, :], right[..., 1::2, :])
        return self.block(torch.cat(quarters, 1))


class CSPDarknet(nn.Module):
    """(N, 3, H, W) -> maps of strides 8, 16 and 32 (Ge et al., YOLOX, 2021).

    Args:
        depth: times as many bottlenecks as in YOLOX-l: 0.33 for nano, tiny and s.
        width: times as many channels as in YOLOX-l: 0.25 for nano, 0.375 for tiny, 0.5 for s.
        depthwise: with separable 3x3 convolutions, as nano.
    """

    strides = (8, 16, 32)

    def __init__(self, depth: float, width: float, *, depthwise: bool = False) -> None:
        super().__init__()
        base, repeats = int(width * 64), max(round(depth * 3), 1)
        self.channels = (4 * base, 8 * base, 16 * base)
        self.stem = SpaceToDepth(base)
        stages = []
        for stage, bottlenecks in enumerate((repeats, 3 * repeats, 3 * repeats, repeats)):
            outputs, is_last = base * 2 ** (stage + 1), stage == 3
            layers: list[nn.Module] = [conv3x3(outputs // 2, outputs, 2, depthwise=depthwise)]
            if is_last:
                layers.append(SpatialPyramid(outputs))
            layers.append(CSPBlock(outputs, outputs, bottlenecks, shortcut=not is_last, depthwise=depthwise))
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps (N, channels[l], H / strides[l], W / strides[l]), finest first."""
        maps = []
        features = self.stem(images)
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps[1:]
