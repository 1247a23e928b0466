"""The grid of anchor points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from otadet.errors import UserError
from otadet.structures import Anchors


class AnchorGrid(nn.Module):
    """Points on every level, one in each cell, each with an anchor box per aspect ratio and scale around it.

    The point in column `x` and row `y` is `((x + offset) stride, (y + offset) stride)`: the centre of its cell with 0.5
    (FCOS, ATSS and PAA as their own authors released them), its corner with 0 (the released OTA, and the FCOS and ATSS
    of its framework). `Detector` builds one from the strides of its neck.

    Args:
        strides: of the levels, in pixels.
        scale: sides of the square anchor boxes, in strides; the roots of the areas of the others.
        offset: in [0, 1) strides.
        aspect_ratios: heights of the anchor boxes by their widths. All scales of the first come first.
        whole_pixels: torchvision's rounding: scales in whole pixels, rounded down; half the sides of an anchor box, to
            the nearest; and `image side // cells` pixels between neighbouring points, which is less than the stride
            where that does not divide the side.

    Raises `ValueError` for an offset beyond that, as the point would be in another cell, and for scales and ratios that
    are none, `UserError` for anchor boxes that are rounded to nothing.
    """

    half_sides: Tensor
    """(L, anchors per location, 2) half of the widths and heights, in pixels."""

    def __init__(
        self,
        strides: Sequence[int],
        scale: float | Sequence[float] = 8.0,
        offset: float = 0.5,
        *,
        aspect_ratios: Sequence[float] = (1.0,),
        whole_pixels: bool = False,
    ) -> None:
        super().__init__()
        scales = (scale,) if isinstance(scale, int | float) else tuple(scale)
        ratios = tuple(aspect_ratios)
        if not 0 <= offset < 1:
            raise ValueError(f"offset {offset}: must be at least 0 and below 1, in strides")
        if not scales or not ratios or min(*scales, *ratios) <= 0:
            raise ValueError(f"scale {scale}, aspect_ratios {aspect_ratios}: need at least one each, all above 0")
        self.strides = tuple(strides)
        self.offset = offset
        self.whole_pixels = whole_pixels
        self.per_location = len(scales) * len(ratios)
        half_sides = _whole_half_sides if whole_pixels else _half_sides
        # No weights: they follow from the experiment, and are numbers even while a network is made without memory.
        self.register_buffer("half_sides", half_sides(self.strides, scales, ratios), persistent=False)

    def forward(self, features: Sequence[Tensor], image_size: Sequence[int] | None = None) -> Anchors:
        """Feature maps (N, ., H, W), finest first -> their `Anchors`, on the features' device, in float32.

        image_size: (height, width) in pixels; `whole_pixels` needs it, `ValueError` without.
        """
        sizes = tuple((feature.shape[-2], feature.shape[-1]) for feature in features)
        spacing = self._spacing(sizes, image_size)
        device = features[0].device
        half_sides = self.half_sides.to(device, non_blocking=True)
        points, boxes, strides = [], [], []
        for level, (stride, (down, across)) in enumerate(zip(self.strides, spacing, strict=True)):
            height, width = sizes[level]
            x = (torch.arange(width, device=device, dtype=torch.float32) + self.offset) * across
            y = (torch.arange(height, device=device, dtype=torch.float32) + self.offset) * down
            grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), -1)
            grid = grid.reshape(-1, 1, 2).expand(-1, self.per_location, -1)
            points.append(grid.reshape(-1, 2))
            boxes.append(torch.cat((grid - half_sides[level], grid + half_sides[level]), -1).view(-1, 4))
            strides.append(torch.full_like(points[-1][:, 0], stride))
        return Anchors(
            torch.cat(points),
            torch.cat(boxes),
            torch.cat(strides),
            sizes,
            self.per_location,
            spacing if self.whole_pixels else None,
        )

    def _spacing(
        self, sizes: Sequence[tuple[int, int]], image_size: Sequence[int] | None
    ) -> tuple[tuple[int, int], ...]:
        """(down, across) pixels between the points of each level."""
        if not self.whole_pixels:
            return tuple((stride, stride) for stride in self.strides)
        if image_size is None:
            raise ValueError("whole_pixels: the points depend on the size of the image, image_size")
        return tuple((image_size[0] // height, image_size[1] // width) for height, width in sizes)


def _half_sides(strides: Sequence[int], scales: Sequence[float], ratios: Sequence[float]) -> Tensor:
    shapes = [(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for ratio in ratios for scale in scales]
    half_sides = [[(stride * width / 2, stride * height / 2) for width, height in shapes] for stride in strides]
    return torch.tensor(half_sides, device="cpu")


def _whole_half_sides(strides: Sequence[int], scales: Sequence[float], ratios: Sequence[float]) -> Tensor:
    sizes = np.array([[math.floor(stride * scale) for scale in scales] for stride in strides], np.float32)
    # In torchvision's order of operations and its precision, as a rounding depends on the last digit.
    heights = np.sqrt(np.array(ratios, np.float32))
    sides = np.stack((1 / heights, heights), -1)[:, None] * sizes[:, None, :, None]
    half_sides = np.round(sides.reshape(len(strides), -1, 2) / 2)
    if not half_sides.all():
        raise UserError(
            f"anchor_scales {scales}, aspect_ratios {ratios}: make anchor boxes of less than two pixels, which "
            "whole_pixels rounds to none; make them larger, or set whole_pixels false"
        )
    return torch.tensor(half_sides.tolist(), device="cpu")
