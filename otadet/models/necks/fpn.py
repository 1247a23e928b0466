"""Feature pyramid network, P3 to P7."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COARSE_FROM = ("p5", "c5")
"""What P6 may be made from."""


class FPN(nn.Module):
    """C3, C4, C5 -> P3 ... P7 (Lin et al., 2017): the maps of a backbone, whatever their strides, and two coarser ones.

    P6 is a strided convolution of `coarse_from`, P7 one of the ReLU of P6. "p5" is what the released OTA, FCOS, ATSS
    and PAA take; "c5" is RetinaNet's. Raises `ValueError` for any other.

    Args:
        in_channels, in_strides: `channels` and `strides` of the backbone.
        channels: of every map of the pyramid.
        coarse_from: the map that P6 is made of.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        channels: int = 256,
        coarse_from: str = "p5",
    ) -> None:
        super().__init__()
        if coarse_from not in COARSE_FROM:
            raise ValueError(f"coarse_from {coarse_from!r}: choose {' or '.join(map(repr, COARSE_FROM))}")
        if len(in_channels) != len(in_strides):
            raise ValueError(f"{len(in_channels)} maps in in_channels, but {len(in_strides)} in in_strides")
        self.strides = pyramid_strides(in_strides)
        self.coarse_from = coarse_from
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.p6 = nn.Conv2d(channels if coarse_from == "p5" else in_channels[-1], channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps (N, ., H, W) of the backbone, finest first -> two more, each (N, channels, ., .)."""
        laterals = [convolution(feature) for convolution, feature in zip(self.lateral, features, strict=True)]
        for finer, coarser in zip(range(len(laterals) - 2, -1, -1), range(len(laterals) - 1, 0, -1), strict=True):
            upsampled = F.interpolate(laterals[coarser], size=laterals[finer].shape[-2:], mode="nearest")
            laterals[finer] = laterals[finer] + upsampled
        pyramid = [convolution(lateral) for convolution, lateral in zip(self.output, laterals, strict=True)]
        return [*pyramid, *self._coarsest(pyramid[-1] if self.coarse_from == "p5" else features[-1])]

    def _coarsest(self, source: Tensor) -> tuple[Tensor, Tensor]:
        # On CPUs, in torch 2.15, a strided bfloat16 convolution over a 1 x 1 map has a weight gradient of garbage.
        with torch.autocast("cpu", enabled=False):
            p6 = self.p6(source.float() if source.device.type == "cpu" else source)
            return p6, self.p7(F.relu(p6))


def pyramid_strides(in_strides: Sequence[int]) -> tuple[int, ...]:
    """Strides of the levels of an `FPN` over maps of `in_strides`: theirs, and twice and four times the coarsest."""
    return (*in_strides, 2 * in_strides[-1], 4 * in_strides[-1])
