"""FCOS: the points in the middle of a box, on the level made for its size (Tian et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.candidates import window
from otadet.assigners.ops.chunks import chunks, pairs_at_once
from otadet.assigners.ops.grids import Region, inside_boxes, level_of_anchors, strides_of
from otadet.assigners.ops.pairs import Pairs
from otadet.assigners.ops.ties import Contest
from otadet.boxes import area, boxes_to_distances, centers
from otadet.structures import Anchors, Assignment, Predictions

FARTHEST = 8.0
"""Strides from a point of a level to the farthest side of the boxes that the level is made for, the coarsest apart."""


@dataclass(frozen=True)
class FCOSAssigner(Assigner):
    """A point answers for a box that it lies in, if its level is made for the box; the smallest such box gets it.

    1. Candidates: the points strictly within `radius` strides of the box's centre.
    2. A candidate is positive if it lies in the box and the largest of its distances to the four sides lies in its
       level's range (`ranges`).
    3. A point that several boxes want goes to the smallest of them.

    The predictions have no influence. A box without such a point gets none. A call raises `ValueError` where there are
    not as many ranges as levels.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,))([torch.empty(1, 1, 4, 4)])
    >>> truth = GroundTruth(torch.tensor([[0.0, 0, 32, 32], [8.0, 8, 16, 16]]), torch.tensor([0, 0]))
    >>> predictions = Predictions(torch.zeros(1, 16, 1), torch.zeros(1, 16, 4))
    >>> FCOSAssigner()(predictions, anchors, [truth]).gt_index.view(4, 4)
    tensor([[-1, -1, -1, -1],
            [-1,  1,  0, -1],
            [-1,  0,  0, -1],
            [-1, -1, -1, -1]])
    """

    gives_scores = False

    radius: float | None = 1.5
    """Of centre sampling, in strides, in x and in y; None is the first version of FCOS, without centre sampling."""
    ranges: tuple[tuple[float, float], ...] | None = None
    """Smallest and largest distance in pixels, both included, of each level. None: those of FCOS, for levels of any
    strides. A level reaches to 8 of its strides and begins where the finer one ends, the finest at any distance, and
    the coarsest has no end: with strides of 8 to 128 pixels up to 64, 64 to 128, 128 to 256, 256 to 512, from 512."""

    def __post_init__(self) -> None:
        if self.radius is not None and self.radius <= 0:
            raise ValueError(f"radius {self.radius}: must be above 0 strides, or None for no centre sampling")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        contest = Contest.empty(truth, len(anchors.points))
        ranges = self._ranges(anchors, truth)
        level = level_of_anchors(anchors)
        points = anchors.points.to(truth.boxes.dtype)
        boxes = truth.boxes.flatten(0, 1)
        areas = area(boxes)
        for pairs in self._pairs(predictions, anchors, truth, ranges):
            anchor = pairs.anchor_index
            gt_boxes = boxes.index_select(0, pairs.gt_row)
            sides = boxes_to_distances(points.index_select(0, anchor), gt_boxes)
            claimed = _answers(sides, ranges, level.index_select(0, anchor))
            contest.add(pairs, -areas.index_select(0, pairs.gt_row), claimed)
        return contest.assignment()

    def _ranges(self, anchors: Anchors, truth: PaddedTruth) -> Tensor:
        """(L, 2) pixels."""
        if self.ranges is None:
            strides = strides_of(anchors, truth.boxes.dtype)
            # Each level's end is the next one's beginning.
            ends = torch.cat((-strides[:1], FARTHEST * strides[:-1], strides.new_full((1,), torch.inf)))
            return ends.unfold(0, 2, 1)
        if len(self.ranges) != len(anchors.level_sizes):
            raise ValueError(
                f"ranges: {len(self.ranges)} of them, but the anchors have {len(anchors.level_sizes)} levels"
            )
        return torch.tensor(self.ranges, dtype=truth.boxes.dtype).to(truth.boxes.device, non_blocking=True)

    def _pairs(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, ranges: Tensor) -> Iterator[Pairs]:
        """Pairs that hold every point that may answer for a box, at once or some boxes at a time."""
        if self.radius is not None:
            yield window(anchors, truth, self.radius, inside=False).pairs(len(anchors.points))
            return
        for chunk in chunks(anchors, truth, _within(ranges[:, 1:], truth), pairs_at_once(predictions)):
            yield chunk.in_batch(chunk.pairs)


def _within(largest: Tensor, truth: PaddedTruth) -> Region:
    """The points in the boxes whose distance to every side may be the `largest` (L, 1) or less."""
    center = centers(truth.boxes)[:, :, None]
    box = inside_boxes(truth, len(largest), margin=0)
    # No point is farther from the box's centre than from one of its sides.
    return Region(box.low.maximum(center - largest), box.high.minimum(center + largest))


def _answers(sides: Tensor, ranges: Tensor, level: Tensor) -> Tensor:
    """(P, 4) distances to the sides, (L, 2), (P,) -> (P,) bool: in the box, on a level made for it."""
    low, high = ranges.unbind(-1)
    longest = sides.amax(-1)
    return (sides.amin(-1) > 0) & (low.index_select(0, level) <= longest) & (longest <= high.index_select(0, level))
