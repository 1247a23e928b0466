"""Where an anchor box can overlap an object by enough: bounds that spare a rule most of its pairs.

With the intersection and the areas of an object and an anchor box, an IoU of t needs

    intersection >= t / (1 + t) (area of the object + area of the anchor box)

which limits how far the two may be apart, and leaves nothing on the levels whose anchor boxes have another size than
the object. Wherever the two lie, their IoU is at most

    (the smaller width) (the smaller height) / (the larger area)

so a level whose anchor boxes stay below what another anchor has reached need not be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops.grids import Levels, Region, levels_of
from otadet.boxes import area, centers, iou
from otadet.structures import Anchors

SLACK = 1e-6
"""By which part a bound is loosened, so that no rounding loses a pair."""


@dataclass(frozen=True)
class Reach:
    """What the anchor boxes of each of the `L` levels have in common."""

    left_top: Tensor
    """(L, 2) farthest that a box reaches to the left of its point and above it, in pixels."""
    right_bottom: Tensor
    """(L, 2) the same to the right and below."""
    least_area: Tensor
    """(L,) square pixels."""

    @property
    def extent(self) -> Tensor:
        """(L, 2) at least the width and the height of every box."""
        return self.left_top + self.right_bottom


def reach_of(anchors: Anchors, dtype: torch.dtype) -> Reach:
    """Bounds on the anchor boxes of each level."""
    counts = anchors.level_counts
    # One coordinate of all anchors after the other: the extremes are sought along it.
    left, top, right, bottom = anchors.boxes.T.contiguous()
    x, y = anchors.points.T.contiguous()
    sides = torch.stack((x - left, y - top, right - x, bottom - y)).split(counts, 1)
    largest = torch.stack([side.amax(1) for side in sides]).to(dtype)
    areas = area(anchors.boxes).split(counts)
    return Reach(largest[:, :2], largest[:, 2:], torch.stack([part.amin() for part in areas]).to(dtype))


def region_of_iou(truth: PaddedTruth, reach: Reach, threshold: Tensor) -> Region:
    """A region that holds all points whose anchor box has an IoU above 0 and of at least `threshold` with the object.

    threshold: 0-1, broadcast to (N, G, L).
    """
    common = _largest_intersection(truth, reach)
    needed = threshold / (1 + threshold) * (area(truth.boxes)[..., None] + reach.least_area) * (1 - SLACK)
    smallest = torch.finfo(common.dtype).tiny
    apart = needed[..., None] / common.flip(-1).clamp(min=smallest)
    apart = torch.where((common.prod(-1) >= needed)[..., None], apart, torch.inf)
    corners = truth.boxes[:, :, None]
    return Region(corners[..., :2] + apart - reach.right_bottom, corners[..., 2:] - apart + reach.left_top)


def lower_bound_of_best_iou(anchors: Anchors, truth: PaddedTruth, reach: Reach) -> Tensor:
    """(N, L) a lower bound: every object whose best anchor can lie on this level has a best IoU of at least this.

    1 where no object's can.
    """
    levels = levels_of(anchors, truth.boxes.dtype)
    nearest_boxes = anchors.boxes[_nearest(levels, truth)].to(truth.boxes.dtype)
    reached = iou(nearest_boxes, truth.boxes[:, :, None, None]).flatten(2).amax(-1, True)
    larger_area = area(truth.boxes)[..., None].maximum(reach.least_area)
    iou_at_most = _largest_intersection(truth, reach).prod(-1) / larger_area
    may_be_here = (iou_at_most > 0) & (iou_at_most >= reached * (1 - SLACK)) & truth.valid[..., None]
    return torch.where(may_be_here, reached, 1).amin(1)


def _largest_intersection(truth: PaddedTruth, reach: Reach) -> Tensor:
    """(N, G, L, 2) width and height that an object and an anchor box can have in common, in pixels."""
    return (truth.boxes[..., 2:] - truth.boxes[..., :2])[:, :, None].clamp(min=0).minimum(reach.extent)


def _nearest(levels: Levels, truth: PaddedTruth) -> Tensor:
    """(N, G, L, anchors per location) int64 anchors of the point of each level nearest to the object's centre."""
    cell = ((centers(truth.boxes)[:, :, None] - levels.origin) / levels.spacing).round()
    column, row = cell.clamp(min=0).minimum(levels.size - 1).long().unbind(-1)
    first = levels.first + (row * levels.size[:, 0] + column) * levels.per_location
    return first[..., None] + torch.arange(levels.per_location, device=first.device)
