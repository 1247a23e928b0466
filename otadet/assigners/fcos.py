"""FCOS: the points in the middle of a box, on the level made for its size (Tian et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.candidates import window
from otadet.assigners.ops.chunks import blocks, pairs_at_once
from otadet.assigners.ops.claims import Claims
from otadet.assigners.ops.grids import Region, inside_boxes, level_of_anchors
from otadet.assigners.ops.pairs import Pairs, pack
from otadet.boxes import area, boxes_to_distances, centers
from otadet.structures import Anchors, Assignment, Predictions

LEVEL_RANGES = ((-1.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, 512.0), (512.0, torch.inf))


@dataclass(frozen=True)
class FCOSAssigner(Assigner):
    """A point answers for a box that it lies in, if its level is made for the box; the smallest such box gets it.

    A level is made for the box if the largest of the point's distances to the four sides lies in the level's range.
    The predictions have no say. A box without such a point gets none.

    radius: of centre sampling, in strides: the point lies strictly within it from the box's centre, in x and in y; None
    is the first version of FCOS, without centre sampling. ranges: smallest and largest distance in pixels, both
    included, of each level. Raises `ValueError` where there are not as many ranges as levels.
    """

    radius: float | None = 1.5
    ranges: tuple[tuple[float, float], ...] = LEVEL_RANGES

    def __post_init__(self) -> None:
        if self.radius is not None and self.radius <= 0:
            raise ValueError(f"radius {self.radius}: must be above 0 strides, or None for no centre sampling")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        if len(self.ranges) != len(anchors.level_sizes):
            raise ValueError(
                f"ranges: {len(self.ranges)} of them, but the anchors have {len(anchors.level_sizes)} levels"
            )
        claims = Claims.none(truth, len(anchors.points))
        ranges = torch.tensor(self.ranges, dtype=truth.boxes.dtype).to(truth.boxes.device, non_blocking=True)
        level = level_of_anchors(anchors)
        points, boxes = anchors.points.to(truth.boxes.dtype), truth.boxes.flatten(0, 1)
        for pairs, box in self._pairs(predictions, anchors, truth, ranges):
            anchor = pairs.anchor.remainder(len(anchors.points))
            sides = boxes_to_distances(points.index_select(0, anchor), boxes.index_select(0, box))
            claimed = _answers(sides, ranges, level.index_select(0, anchor))
            claims.add(pairs, box, -area(boxes).index_select(0, box), claimed)
        return claims.assignment()

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
