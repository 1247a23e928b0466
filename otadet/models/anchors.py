"""The grid of anchor points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from otadet.structures import Anchors


class AnchorGrid(nn.Module):
    """One anchor per location: a point in each cell of the level, with a square of `scale` strides around it.

    The point in column `x` and row `y` is `((x + offset) stride, (y + offset) stride)`: the centre of its cell with 0.5
    (FCOS, ATSS and PAA as their own authors released them), its corner with 0 (the released OTA, and the FCOS and ATSS
    of its framework). `Detector` builds one from the strides of its neck. Raises `ValueError` for an offset outside of
    [0, 1), as the point would be in another cell.
    """

    def __init__(self, strides: Sequence[int], scale: float = 8.0, offset: float = 0.5) -> None:
        super().__init__()
        if not 0 <= offset < 1:
            raise ValueError(f"offset {offset}: must be at least 0 and below 1, in strides")
        self.strides = tuple(strides)
        self.scale = scale
        self.offset = offset

    def forward(self, features: Sequence[Tensor]) -> Anchors:
        """Feature maps (N, ., H, W), finest first -> their `Anchors`, on the features' device, in float32."""
        points_of_levels, strides_of_levels, sizes = [], [], []
        for feature, stride in zip(features, self.strides, strict=True):
            height, width = feature.shape[-2:]
            x = (torch.arange(width, device=feature.device, dtype=torch.float32) + self.offset) * stride
            y = (torch.arange(height, device=feature.device, dtype=torch.float32) + self.offset) * stride
            grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), -1)
            points_of_levels.append(grid.reshape(-1, 2))
            strides_of_levels.append(torch.full_like(points_of_levels[-1][:, 0], stride))
            sizes.append((height, width))
        points, strides = torch.cat(points_of_levels), torch.cat(strides_of_levels)
        reach = strides[:, None] * (self.scale / 2)
        return Anchors(points, torch.cat((points - reach, points + reach), dim=-1), strides, tuple(sizes))
