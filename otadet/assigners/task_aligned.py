"""Task-aligned assignment: TOOD's (Feng et al., 2021), and what today's YOLOs made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.candidates import Candidates
from otadet.assigners.ops.chunks import Block, blocks, pairs_at_once, shared_blocks
from otadet.assigners.ops.claims import Claims
from otadet.assigners.ops.costs import PairValues, look_up
from otadet.assigners.ops.grids import INSIDE_MARGIN, Region, inside_boxes, level_of_anchors, levels_of
from otadet.assigners.ops.inputs import can_look
from otadet.assigners.ops.pairs import pack
from otadet.boxes import centers, ciou
from otadet.structures import Anchors, Assignment, Predictions


@dataclass(frozen=True)
class TaskAlignedAssigner(Assigner):
    """Each box takes the `top` anchors inside it that are best at both tasks: `score^alpha * overlap^beta`.

    The score is the probability of the box's class, the overlap the IoU with the predicted box. An anchor that several
    boxes take goes to the one with the largest overlap. A box gets fewer than `top` anchors, or none, where fewer
    points inside it predict a box that overlaps it.

    The defaults are TOOD's, except that the best are sought among the points inside the box; TOOD's code seeks them
    among all points and drops those outside, which leaves some boxes fewer. `TaskAlignedAssigner.yolo()` is the rule of
    today's YOLOs, which differs from TOOD's in all of the following.

    complete: the overlap is the CIoU, at least 0, in place of the IoU.
    among_holders: an anchor that several boxes take goes to the largest overlap of all boxes that it lies inside,
        whether they take it or not.
    enlarge: a box narrower or lower than the finest stride counts as wide or as high as the next level's stride (the
        finest, if there is no other) when its points are sought, so that tiny boxes have some.
    margin: pixels by which a point lies inside a box to count as inside.
    """

    alpha: float = 1.0
    beta: float = 6.0
    top: int = 13
    complete: bool = False
    among_holders: bool = False
    enlarge: bool = False
    margin: float = INSIDE_MARGIN

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top {self.top}: must be at least 1 anchor")
        for name in ("alpha", "beta", "margin"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: must be a number, and not below 0")

    @classmethod
    def yolo(cls) -> TaskAlignedAssigner:
        """The rule of YOLOv8 to YOLO26 (its one-to-many head): CIoU, ties among all holders, tiny boxes enlarged.

        YOLOv8 to YOLO12 do not enlarge. Their code fills up a box's ten with points inside it that overlap nothing;
        those have a weight of 0 in their losses, and are background here.
        """
        return cls(alpha=0.5, top=10, complete=True, among_holders=True, enlarge=True, margin=1e-9)

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        num_images, num_boxes = truth.present.shape
        size = (num_images * num_boxes, self.top)
        anchor = torch.zeros(size, dtype=torch.int64, device=truth.boxes.device)
        overlap, taken = truth.boxes.new_zeros(size), torch.zeros_like(anchor, dtype=torch.bool)
        region = self._region(anchors, truth)
        for block in blocks(anchors, truth, region, pairs_at_once(predictions)):
            best = self._best(predictions, block)
            count = best.anchor.shape[1]
            anchor[block.row, :count] = best.anchor.remainder(len(anchors.points))
            overlap[block.row, :count], taken[block.row, :count] = best.overlap, best.taken
        table = (num_images, num_boxes, self.top)
        candidates = Candidates(anchor.view(table), taken.view(table))
        pairs = pack(candidates, len(anchors.points))
        claims = Claims.none(truth, len(anchors.points))
        claims.add(pairs, pairs.box, overlap.flatten()[pairs.slot], pairs.real)
        assignment = claims.assignment()
        if not self.among_holders or (can_look(taken) and not assignment.ambiguous.any()):
            return assignment
        return claims.settled_by(self._held(predictions, anchors, truth, region, candidates, assignment.ambiguous))

    def _region(self, anchors: Anchors, truth: PaddedTruth) -> Region:
        if self.enlarge:
            truth = replace(truth, boxes=_enlarged(truth.boxes, levels_of(anchors, truth.boxes.dtype).stride))
        return inside_boxes(truth, len(anchors.level_sizes), self.margin)

    def _best(self, predictions: Predictions, block: Block) -> _Best:
        pairs = block.pairs
        values = look_up(predictions, block.truth, pairs)
        overlap = self._overlap(values)
        table = pairs.table(values.logits.sigmoid() ** self.alpha * overlap**self.beta, 0.0)[0]
        best = table.topk(min(self.top, table.shape[1]), sorted=False)
        place = pairs.table(torch.arange(len(pairs.anchor), device=table.device), 0)[0].gather(1, best.indices)
        return _Best(pairs.anchor[place], overlap[place], best.values > 0)

    def _overlap(self, values: PairValues) -> Tensor:
        return ciou(values.boxes, values.truth).clamp(min=0) if self.complete else values.overlap

    def _held(
        self,
        predictions: Predictions,
        anchors: Anchors,
        truth: PaddedTruth,
        region: Region,
        taken: Candidates,
        disputed: Tensor,
    ) -> Claims:
        """The claims, on the `disputed` (N, A) anchors among those `taken`, of all boxes that they lie inside."""
        rows = taken.anchor.flatten(1)
        is_disputed = disputed.gather(1, rows).view_as(taken.valid)
        pairs = pack(Candidates(taken.anchor, taken.valid & is_disputed), len(anchors.points))
        level = level_of_anchors(anchors)
        held = Claims.none(truth, len(anchors.points))
        for block, _ in shared_blocks(pairs, truth, pairs_at_once(predictions) // 2):
            box, row = block.row[block.pairs.box], block.pairs.anchor.remainder(len(anchors.points))
            place = box * len(anchors.level_sizes) + level.index_select(0, row)
            low, high = (edge.flatten(0, 2).index_select(0, place) for edge in (region.low, region.high))
            point = anchors.points.index_select(0, row).to(low.dtype)
            is_inside = ((point > low) & (point < high)).all(-1)
            overlap = self._overlap(look_up(predictions, block.truth, block.pairs))
            held.add(block.pairs, box, overlap, is_inside & (overlap > 0))
        return held


def _enlarged(boxes: Tensor, stride: Tensor) -> Tensor:
    """(N, G, 4): sides shorter than the finest stride made as long as the next one, about the same centre.

    stride: (L,) of the levels, in pixels.
    """
    ordered = stride.sort().values
    is_short = boxes[..., 2:] - boxes[..., :2] < ordered[0]
    reach = ordered[min(1, len(ordered) - 1)] / 2
    low = torch.where(is_short, centers(boxes) - reach, boxes[..., :2])
    return torch.cat((low, torch.where(is_short, centers(boxes) + reach, boxes[..., 2:])), -1)


@dataclass(frozen=True)
class _Best:
    """The best aligned anchors of `B` boxes, `k` each."""

    anchor: Tensor  # (B, k) int64 row of the batch's anchors
    overlap: Tensor  # (B, k)
    taken: Tensor  # (B, k) bool: false where there are fewer
