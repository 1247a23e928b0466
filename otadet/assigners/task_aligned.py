"""Task-aligned assignment (TOOD, Feng et al., 2021), the rule of PP-YOLOE, YOLOv6 and YOLOv8."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.blocks import Block, blocks, pairs_at_once
from otadet.assigners.candidates import Candidates
from otadet.assigners.claims import Claims
from otadet.assigners.costs import look_up
from otadet.assigners.grids import inside_boxes
from otadet.assigners.pairs import pack
from otadet.structures import Anchors, Assignment, Predictions


@dataclass(frozen=True)
class TaskAlignedAssigner(Assigner):
    """Each box takes the `top` anchors inside it that are best at both tasks: `score^alpha * IoU^beta`.

    The score is the probability of the box's class, the IoU that of the predicted box. An anchor that several boxes
    take goes to the one with the largest IoU. A box gets fewer than `top` anchors, or none, where fewer points inside
    it predict a box that overlaps it.

    The defaults are TOOD's (YOLOv8: alpha 0.5, top 10). As in the YOLOs, the best are sought among the points inside
    the box; TOOD's code seeks them among all points and drops those outside, which leaves some boxes fewer.
    """

    alpha: float = 1.0
    beta: float = 6.0
    top: int = 13

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top {self.top}: must be at least 1 anchor")
        for name in ("alpha", "beta"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)}: must not be below 0")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        num_images, num_boxes = truth.present.shape
        size = (num_images * num_boxes, self.top)
        anchor = torch.zeros(size, dtype=torch.int64, device=truth.boxes.device)
        overlap, taken = truth.boxes.new_zeros(size), torch.zeros_like(anchor, dtype=torch.bool)
        region = inside_boxes(truth, len(anchors.level_sizes))
        for block in blocks(anchors, truth, region, pairs_at_once(predictions)):
            best = self._best(predictions, block)
            count = best.anchor.shape[1]
            anchor[block.row, :count] = best.anchor.remainder(len(anchors.points))
            overlap[block.row, :count], taken[block.row, :count] = best.overlap, best.taken
        table = (num_images, num_boxes, self.top)
        pairs = pack(Candidates(anchor.view(table), taken.view(table)), len(anchors.points))
        claims = Claims.none(truth, len(anchors.points))
        claims.add(pairs, pairs.box, overlap.flatten()[pairs.slot], pairs.real)
        return claims.assignment()

    def _best(self, predictions: Predictions, block: Block) -> _Best:
        pairs = block.pairs
        values = look_up(predictions, block.truth, pairs)
        alignment = values.logits.sigmoid() ** self.alpha * values.overlap**self.beta
        table = pairs.table(alignment, 0.0)[0]
        best = table.topk(min(self.top, table.shape[1]), sorted=False)
        place = pairs.table(torch.arange(len(pairs.anchor), device=table.device), 0)[0].gather(1, best.indices)
        return _Best(pairs.anchor[place], values.overlap[place], best.values > 0)


@dataclass(frozen=True)
class _Best:
    """The best aligned anchors of `B` boxes, `k` each."""

    anchor: Tensor  # (B, k) int64 row of the batch's anchors
    overlap: Tensor  # (B, k)
    taken: Tensor  # (B, k) bool: false where there are fewer
