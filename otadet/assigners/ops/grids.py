"""The grids of points that the anchors of the levels form, and which of them lie in a rectangle.

The points of a level are `stride` pixels apart, so those in a rectangle are found by arithmetic on its corners: the
cost does not depend on the area of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from otadet.assigners.base import PaddedTruth
from otadet.boxes import centers
from otadet.structures import Anchors

INSIDE_MARGIN = 0.01
"""Pixels by which a point lies inside a box to count as inside (the released code)."""


@dataclass(frozen=True)
class Region:
    """The open rectangle of points that a box is paired with, on each of the `L` levels."""

    low: Tensor
    """(N, G, L, 2) x, y in pixels."""
    high: Tensor
    """(N, G, L, 2) x, y in pixels."""

    def contains(self, points: Tensor, box_rows: Tensor, level: Tensor) -> Tensor:
        """(P, 2) points, (P,) rows of the batch's boxes, (P,) levels -> (P,) bool."""
        place = box_rows * self.low.shape[2] + level
        low, high = (edge.flatten(0, 2).index_select(0, place) for edge in (self.low, self.high))
        points = points.to(low.dtype)
        return ((points > low) & (points < high)).all(-1)

    def __and__(self, other: Region) -> Region:
        return Region(self.low.maximum(other.low), self.high.minimum(other.high))


@dataclass(frozen=True)
class Levels:
    """The grids of the `L` levels."""

    first: Tensor
    """(L,) int64 the level's first anchor."""
    size: Tensor
    """(L, 2) int64 width, height in points."""
    origin: Tensor
    """(L, 2) x, y of the first point, in pixels."""
    stride: Tensor
    """(L,) pixels."""
    spacing: Tensor
    """(L, 2) or (L, 1) pixels between neighbouring points, across and down: what distances "in strides" are counted in.
    """
    per_location: int
    """Anchors of a point: that of column x and row y has those from `first + (y width + x) per_location` on."""

    def cells(self, region: Region) -> tuple[Tensor, Tensor]:
        """(N, G, L, 2) int64 column and row of the first and of the last point of each level in a region.

        The first is at least 0, the last inside the grid; it is less than the first where there is no point.
        """
        low, high = ((edge - self.origin) / self.spacing for edge in (region.low, region.high))
        end = self.size.to(low.dtype)
        first = low.clamp(min=-1).minimum(end).floor().long() + 1
        return first, high.clamp(min=-1).minimum(end).ceil().long() - 1


def levels_of(anchors: Anchors, dtype: torch.dtype) -> Levels:
    """Where each level lies among the anchors and in the image."""
    sizes = torch.tensor([(width, height) for height, width in anchors.level_sizes])
    counts = sizes.prod(1) * anchors.per_location
    first = (counts.cumsum(0) - counts).to(anchors.points.device, non_blocking=True)
    origin, stride = anchors.points[first].to(dtype), anchors.strides[first].to(dtype)
    spacing = stride[:, None]
    if anchors.spacing is not None:
        spacing = torch.tensor(anchors.spacing, dtype=dtype).flip(1).to(first.device, non_blocking=True)
    return Levels(first, sizes.to(first.device, non_blocking=True), origin, stride, spacing, anchors.per_location)


def strides_of(anchors: Anchors, dtype: torch.dtype) -> Tensor:
    """(L,) pixels: as `Levels.stride`, alone."""
    *first, _ = accumulate(anchors.level_counts, initial=0)
    place = torch.tensor(first).to(anchors.strides.device, non_blocking=True)
    return anchors.strides.index_select(0, place).to(dtype)


def level_of_anchors(anchors: Anchors) -> Tensor:
    """(A,) int64 index of each anchor's level."""
    sizes = torch.tensor(anchors.level_counts).to(anchors.points.device, non_blocking=True)
    return torch.repeat_interleave(sizes, output_size=len(anchors.points))


def inside_boxes(truth: PaddedTruth, num_levels: int, margin: float = INSIDE_MARGIN) -> Region:
    """The points that lie in each box by more than `margin` pixels."""
    corners = truth.boxes[:, :, None].expand(-1, -1, num_levels, -1)
    return Region(corners[..., :2] + margin, corners[..., 2:] - margin)


def near_centers(truth: PaddedTruth, levels: Levels, radius: float | Tensor) -> Region:
    """The points strictly within `radius` strides of each box's centre, in x and in y. radius: fits (N, G, L, 1)."""
    center, reach = centers(truth.boxes)[:, :, None], levels.spacing * radius
    return Region(center - reach, center + reach)
