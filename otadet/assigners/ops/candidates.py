"""Centre priors: which anchors may answer for which box, as a padded table of candidates.

The anchors of a level form a grid, `stride` pixels apart, so the candidates of a box are found by arithmetic on its
centre: the cost does not depend on the area of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops.grids import INSIDE_MARGIN, Levels, inside_boxes, levels_of, near_centers
from otadet.assigners.ops.inputs import on_host
from otadet.assigners.ops.pairs import Pairs
from otadet.boxes import centers
from otadet.structures import Anchors


@dataclass(frozen=True)
class Candidates:
    """Up to `K` anchors per box; the valid anchors of a row are distinct."""

    anchor_index: Tensor
    """(N, G, K) int64 in [0, A)."""
    valid: Tensor
    """(N, G, K) bool: false where the table is padding."""

    def pairs(self, num_anchors: int) -> Pairs:
        """The table as a list. num_anchors: A."""
        num_images, num_boxes, width = self.anchor_index.shape
        valid = self.valid.flatten()
        if on_host(valid):
            table_index = valid.nonzero().squeeze(1)
            valid = valid[table_index]
        else:
            table_index = torch.arange(len(valid), device=valid.device)
        gt_row = table_index.div(width, rounding_mode="floor")
        image = gt_row.div(num_boxes, rounding_mode="floor")
        anchor_row = self.anchor_index.reshape(-1)[table_index] + image * num_anchors
        return Pairs(gt_row, anchor_row, valid, table_index, (num_images, num_boxes, width), num_anchors)


def _all_shapes(cell: Tensor, valid: Tensor, levels: Levels) -> Candidates:
    """Points, numbered within each level (N, G, L, K), as all the anchors that they have."""
    if levels.per_location == 1:
        return Candidates((levels.first[:, None] + cell).flatten(2), valid.flatten(2))
    shape = torch.arange(levels.per_location, device=cell.device)
    anchor_index = levels.first[:, None, None] + cell[..., None] * levels.per_location + shape
    return Candidates(anchor_index.flatten(2), valid[..., None].expand_as(anchor_index).flatten(2))


def window(anchors: Anchors, truth: PaddedTruth, radius: float, inside: bool = True) -> Candidates:
    """Points strictly within `radius` strides of the box's centre in x and in y and, if `inside`, in the box.

    K is `ceil(2 radius)` squared times the number of levels, times the anchors per location. A box may be left without
    any candidate.
    """
    levels = levels_of(anchors, truth.boxes.dtype)
    region = near_centers(truth, levels, radius)
    if inside:
        region = region & inside_boxes(truth, len(levels.first))
    first, last = levels.cells(region)
    last = torch.where(truth.valid[..., None, None], last, -1)
    # (N, G, L, 2, side): x and y are independent of each other.
    cell = first[..., None] + torch.arange(math.ceil(2 * radius), device=first.device)
    valid = cell <= last[..., None]
    column, row = cell.minimum(levels.size[..., None] - 1).unbind(-2)
    start = row.mul_(levels.size[:, :1])
    place = start[..., :, None] + column[..., None, :]
    valid = valid[..., 1, :, None] & valid[..., 0, None, :]
    return _all_shapes(place.flatten(3), valid.flatten(3), levels)


def nearest(anchors: Anchors, truth: PaddedTruth, side: int) -> Candidates:
    """The `side * side` points of each level nearest to the box's centre (paper, Sec. 3.3), in the box or not."""
    return nearest_points(anchors, truth, side * side)


def nearest_points(anchors: Anchors, truth: PaddedTruth, count: int) -> Candidates:
    """The `count` points of each level nearest to the box's centre.

    K is `count` times the number of levels, times the anchors per location; a level with fewer points gives all of
    them. Exact for centres up to one
    stride outside the grid. For centres farther out, points along the edge may be replaced by slightly farther ones.
    """
    levels = levels_of(anchors, truth.boxes.dtype)
    # (N, G, L, 2) in strides from the first point.
    middle = (centers(truth.boxes)[:, :, None] - levels.origin) / levels.spacing
    num_columns = max(_reach(width, count, height) for height, width in anchors.level_sizes)
    num_rows = max(_reach(height, count, width) for height, width in anchors.level_sizes)
    # The points of a rectangle around the centre: (N, G, L, columns) and (N, G, L, rows), x and y being independent.
    column, has_column = _around(middle[..., 0], levels.size[:, 0], num_columns)
    row, has_row = _around(middle[..., 1], levels.size[:, 1], num_rows)
    squared_x, squared_y = (column - middle[..., :1]) ** 2, (row - middle[..., 1:]) ** 2
    if anchors.spacing is not None:
        squared_y = squared_y * (levels.spacing[:, 1:] / levels.spacing[:, :1]) ** 2
    exists = has_row[..., :, None] & has_column[..., None, :]
    distance = torch.where(exists, squared_y[..., :, None] + squared_x[..., None, :], torch.inf).flatten(3)
    cell = (row[..., :, None] * levels.size[:, 0, None, None] + column[..., None, :]).flatten(3)
    best = distance.topk(min(count, num_rows * num_columns), largest=False, sorted=False)
    valid = best.values.isfinite() & truth.valid[..., None, None]
    place = torch.where(valid, cell.gather(3, best.indices), 0)
    padding = (0, count - best.indices.shape[-1])
    return _all_shapes(F.pad(place, padding), F.pad(valid, padding), levels)


def _reach(length: int, count: int, other_length: int) -> int:
    """How many rows (or columns) around a centre surely contain its `count` nearest points.

    With side = sqrt(count) these fill a disc of radius 0.56 side in the open, a half disc of 0.8 side at an edge, a
    quarter disc of 1.13 side in a corner. Where the grid is thin in the other direction they spread along this one.
    """
    reach = math.ceil(0.8 * math.sqrt(count))
    return min(length, max(2 * reach + 1, math.ceil(count / other_length) + 2))


def _around(middle: Tensor, length: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(N, G, L, size) rows (or columns) around `middle` (N, G, L), and whether a level of `length` (L,) has them."""
    start = (middle.round().long() - size // 2).clamp(min=0).minimum((length - size).clamp(min=0))
    cell = start[..., None] + torch.arange(size, device=middle.device)
    return cell, cell < length[:, None]


def inside(anchors: Anchors, truth: PaddedTruth) -> Candidates:
    """Every point that lies in the box, at any distance from its centre; K is A."""
    point = anchors.points.to(truth.boxes.dtype)
    low, high = truth.boxes[:, :, None, :2], truth.boxes[:, :, None, 2:]
    valid = (torch.minimum(point - low, high - point) > INSIDE_MARGIN).all(-1) & truth.valid[..., None]
    return Candidates(torch.arange(len(point), device=point.device).expand(valid.shape), valid)


def find_candidates(anchors: Anchors, truth: PaddedTruth, prior: str, radius: float) -> Candidates:
    """The candidates under a centre prior; no box is left without any.

    Args:
        anchors: the points.
        truth: the boxes.
        prior: "window" (the released code), points inside the box and within `radius` strides of its centre; "nearest"
            (the paper's text), the r x r points of each level nearest to the centre, r = 2 radius; "none", every point
            inside the box. Where "window" and "none" find nothing, as in a box that fits between the points, they take
            the nearest r x r.
        radius: in strides.
    """
    side = math.ceil(2 * radius)
    if prior == "nearest":
        return nearest(anchors, truth, side)
    found = window(anchors, truth, radius) if prior == "window" else inside(anchors, truth)
    is_lost = truth.valid & ~found.valid.any(-1)
    if on_host(is_lost) and not is_lost.any():
        return found
    return _rescue(found, nearest(anchors, truth, side), is_lost[..., None])


def _rescue(found: Candidates, closest: Candidates, is_lost: Tensor) -> Candidates:
    """`found`, with the rows `is_lost` (N, G, 1) replaced by those of `closest`."""
    if found.anchor_index.shape == closest.anchor_index.shape:
        anchor_index = torch.where(is_lost, closest.anchor_index, found.anchor_index)
        return Candidates(anchor_index, torch.where(is_lost, closest.valid, found.valid))
    # The table of `inside` has a place for every anchor.
    rescued = torch.zeros_like(found.valid, dtype=torch.int32)
    rescued.scatter_add_(2, closest.anchor_index, (closest.valid & is_lost).to(torch.int32))
    return Candidates(found.anchor_index, found.valid | (rescued > 0))


def check_prior(prior: str, radius: float, top_q: int, k: int | None) -> None:
    """Raise `ValueError` for settings of an assigner that cannot work."""
    if prior not in ("window", "nearest", "none"):
        raise ValueError(f"prior {prior!r}: choose 'window', 'nearest' or 'none'")
    if radius <= 0:
        raise ValueError(f"radius {radius}: must be above 0 strides")
    if top_q < 1:
        raise ValueError(f"top_q {top_q}: must be at least 1")
    if k is not None and k < 1:
        raise ValueError(f"k {k}: a box supplies at least one label")
