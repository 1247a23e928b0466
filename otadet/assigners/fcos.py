"""FCOS: the points in the middle of a box, on the level made for its size (Tian et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.candidates import window
from otadet.assigners.ops.chunks import blocks, pairs_at_once
from otadet.assigners.ops.claims import Claims
from otadet.assigners.ops.grids import Region, inside_boxes, level_of_anchors, levels_of
from otadet.assigners.ops.pairs import Pairs, pack
from otadet.boxes import area, boxes_to_distances, centers
from otadet.structures import Anchors, Assignment, Predictions

FARTHEST = 8.0
"""Strides from a point of a level to the farthest side of the boxes that the level is made for, the coarsest apart."""


@dataclass(frozen=True)
class FCOSAssigner(Assigner):
    """A point answers for a box that it lies in, if its level is made for the box; the smallest such box gets it.

    A level is made for the box if the largest of the point's distances to the four sides lies in the level's range.
    The predictions have no say. A box without such a point gets none.

    radius: of centre sampling, in strides: the point lies strictly within it from the box's centre, in x and in y; None
    is the first version of FCOS, without centre sampling. ranges: smallest and largest distance in pixels, both
    included, of each level; None: those of FCOS, for levels of any strides. A level reaches to 8 of its strides and
    begins where the finer one ends, the finest at any distance, and the coarsest has no end: with strides of 8 to 128
    pixels up to 64, 64 to 128, 128 to 256, 256 to 512, and from 512 on. Raises `ValueError` where there are not as many
    ranges as levels.
    """

    radius: float | None = 1.5
    ranges: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if self.radius is not None and self.radius <= 0:
            raise ValueError(f"radius {self.radius}: must be above 0 strides, or None for no centre sampling")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        claims = Claims.none(truth, len(anchors.points))
        ranges = self._ranges(anchors, truth)
        level = level_of_anchors(anchors)
        points, boxes = anchors.points.to(truth.boxes.dtype), truth.boxes.flatten(0, 1)
        for pairs, box in self._pairs(predictions, anchors, truth, ranges):
            anchor = pairs.anchor.remainder(len(anchors.points))
            sides = boxes_to_distances(points.index_select(0, anchor), boxes.index_select(0, box))
            claimed = _answers(sides, ranges, level.index_select(0, anchor))
            claims.add(pairs, box, -area(boxes).index_select(0, box), claimed)
        return claims.assignment()

    def _ranges(self, anchors: Anchors, truth: PaddedTruth) -> Tensor:
        """(L, 2) pixels."""
        if self.ranges is None:
            farthest = FARTHEST * levels_of(anchors, truth.boxes.dtype).stride[:-1]
            ends = F.pad(farthest, (1, 0), value=-1.0), F.pad(farthest, (0, 1), value=torch.inf)
            return torch.stack(ends, dim=1)
        if len(self.ranges) != len(anchors.level_sizes):
            raise ValueError(
                f"ranges: {len(self.ranges)} of them, but the anchors have {len(anchors.level_sizes)} levels"
            )
        return torch.tensor(self.ranges, dtype=truth.boxes.dtype).to(truth.boxes.device, non_blocking=True)

    def _pairs(
        self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, ranges: Tensor
    ) -> Iterator[tuple[Pairs, Tensor]]:
        """Pairs that hold every point that may answer for a box, and the (P,) rows of their boxes."""
        if self.radius is not None:
            pairs = pack(window(anchors, truth, self.radius, inside=False), len(anchors.points))
            yield pairs, pairs.box
            return
        # No point is farther from the box's centre than from one of its sides.
        center = centers(truth.boxes)[:, :, None]
        largest = ranges[:, 1:]
        box = inside_boxes(truth, len(anchors.level_sizes), margin=0)
        region = Region(box.low.maximum(center - largest), box.high.minimum(center + largest))
        for block in blocks(anchors, truth, region, pairs_at_once(predictions)):
            yield block.pairs, block.row.index_select(0, block.pairs.box)


def _answers(sides: Tensor, ranges: Tensor, level: Tensor) -> Tensor:
    """(P, 4) distances to the sides, (L, 2), (P,) -> (P,) bool: in the box, on a level made for it."""
    low, high = ranges.unbind(-1)
    longest = sides.amax(-1)
    return (sides.amin(-1) > 0) & (low.index_select(0, level) <= longest) & (longest <= high.index_select(0, level))
