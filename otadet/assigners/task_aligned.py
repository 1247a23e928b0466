"""Task-aligned assignment: TOOD's (Feng et al., 2021), and what today's YOLOs made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.chunks import Chunk, chunks, chunks_of_anchors, pairs_at_once
from otadet.assigners.ops.grids import INSIDE_MARGIN, Region, inside_boxes, level_of_anchors, strides_of
from otadet.assigners.ops.inputs import on_host
from otadet.assigners.ops.pairs import Pairs, joined, owned
from otadet.assigners.ops.ties import Contest
from otadet.assigners.ops.values import PairValues, gather
from otadet.boxes import centers, ciou
from otadet.structures import Anchors, Assignment, Predictions


@dataclass(frozen=True)
class TaskAlignedAssigner(Assigner):
    """Each box takes the `topk` anchors inside it that are best at both tasks: `score^alpha * iou^beta`.

    1. Candidates: the points inside the box.
    2. Their alignment is `score^alpha * iou^beta`: the probability of the box's class, the IoU with the predicted box.
    3. A box takes the `topk` best aligned, fewer where fewer points inside it predict a box that overlaps it.
    4. An anchor that several boxes take goes to the one with the largest IoU.
    5. If `soft`, an anchor's score is its alignment, scaled so that the best anchor of each box has the box's largest
       IoU.

    The defaults are TOOD's, except that the best are sought among the points inside the box; TOOD's code seeks them
    among all points and drops those outside, which leaves some boxes fewer. `TaskAlignedAssigner.yolo()` is the rule of
    today's YOLOs, which differs from TOOD's in `complete`, `among_holders`, `enlarge` and `margin`.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,))([torch.empty(1, 1, 1, 3)])
    >>> truth = GroundTruth(torch.tensor([[0.0, 0, 24, 8], [8.0, 0, 24, 8]]), torch.tensor([0, 1]))
    >>> predictions = Predictions(logits=torch.zeros(1, 3, 2), boxes=truth.boxes[[0, 1, 0]][None])

    The first box takes points 0 and 2, the second points 1 and 2; point 2 predicts the first:

    >>> assignment = TaskAlignedAssigner(topk=2)(predictions, anchors, [truth])
    >>> assignment.gt_index, assignment.ambiguous
    (tensor([[0, 1, 0]]), tensor([[False, False,  True]]))
    """

    alpha: float = 1.0
    """Exponent of the score."""
    beta: float = 6.0
    """Exponent of the IoU."""
    topk: int = 13
    """Anchors per box, at most."""
    complete: bool = False
    """The CIoU, at least 0, in place of the IoU."""
    among_holders: bool = False
    """An anchor that several boxes take goes to the largest IoU of all boxes that it lies inside, takers or not."""
    enlarge: bool = False
    """A box narrower or lower than the finest stride counts as wide or as high as the next level's stride (the finest,
    if there is no other) when its points are sought, so that tiny boxes have some."""
    margin: float = INSIDE_MARGIN
    """Pixels by which a point lies inside a box to count as inside."""
    soft: bool = False
    """With scores as soft targets of the class, as TOOD and the YOLOs train; else every positive anchor's is 1."""

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise ValueError(f"topk {self.topk}: must be at least 1 anchor")
        for name in ("alpha", "beta", "margin"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: must be a number, and not below 0")

    @property
    def gives_scores(self) -> bool:
        return self.soft

    @classmethod
    def yolo(cls) -> TaskAlignedAssigner:
        """The rule of YOLOv8 to YOLO26 (its one-to-many head): CIoU, ties among all holders, tiny boxes enlarged.

        YOLOv8 to YOLO12 do not enlarge. Their code fills up a box's ten with points inside it that overlap nothing;
        those have a weight of 0 in their losses, and are background here.
        """
        return cls(alpha=0.5, topk=10, complete=True, among_holders=True, enlarge=True, margin=1e-9)

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        assignment = self._assign(predictions, anchors, truth)
        if not self.soft:
            return assignment
        return replace(assignment, score=self._scores(predictions, anchors, truth, assignment.gt_index))

    def _assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        contest, region = Contest.empty(truth, len(anchors.points)), self._region(anchors, truth)
        found = chunks(anchors, truth, region, pairs_at_once(predictions))
        taken = [self._best_aligned(predictions, anchors, chunk) for chunk in found]
        if taken:
            contest.add(joined([pairs for pairs, _ in taken]), torch.cat([ious for _, ious in taken]))
        assignment = contest.assignment()
        if not self.among_holders or (on_host(contest.count) and not assignment.ambiguous.any()):
            return assignment
        return contest.resolved_among(self._holders(predictions, anchors, truth, region, assignment.ambiguous))

    def _region(self, anchors: Anchors, truth: PaddedTruth) -> Region:
        if self.enlarge:
            truth = replace(truth, boxes=_enlarged(truth.boxes, strides_of(anchors, truth.boxes.dtype)))
        return inside_boxes(truth, len(anchors.level_sizes), self.margin)

    def _scores(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, gt_index: Tensor) -> Tensor:
        """(N, A) float32, 0 where an anchor is nobody's."""
        pairs = owned(gt_index, truth.valid.shape[1])
        values = gather(predictions, anchors, truth, pairs)
        ious = self._iou(values)
        alignment = self._alignment(values, ious)
        best = pairs.largest_per_box(alignment, torch.finfo(alignment.dtype).tiny)
        return pairs.of_anchors(alignment / best * pairs.largest_per_box(ious, 0.0))

    def _best_aligned(self, predictions: Predictions, anchors: Anchors, chunk: Chunk) -> tuple[Pairs, Tensor]:
        """The pairs that the boxes of a chunk take, as pairs of the batch, and their IoUs (P,)."""
        values = gather(predictions, anchors, chunk.truth, chunk.pairs)
        ious = self._iou(values)
        best, place = chunk.pairs.cheapest(-self._alignment(values, ious), self.topk, below=0)
        return chunk.in_batch(best), ious[place]

    def _alignment(self, values: PairValues, ious: Tensor) -> Tensor:
        return values.logits.sigmoid() ** self.alpha * ious**self.beta

    def _iou(self, values: PairValues) -> Tensor:
        return ciou(values.boxes, values.gt_boxes).clamp(min=0) if self.complete else values.iou

    def _holders(
        self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, region: Region, disputed: Tensor
    ) -> Contest:
        """The contest of all boxes for the `disputed` (N, A) anchors that they lie inside."""
        contest, level = Contest.empty(truth, len(anchors.points)), level_of_anchors(anchors)
        # Each of them is taken twice.
        at_most = truth.valid.shape[1] * self.topk // 2
        for chunk in chunks_of_anchors(disputed, at_most, truth, pairs_at_once(predictions) // 2):
            pairs = chunk.in_batch(chunk.pairs)
            points, at = anchors.points.index_select(0, pairs.anchor_index), level.index_select(0, pairs.anchor_index)
            is_inside = region.contains(points, pairs.gt_row, at)
            ious = self._iou(gather(predictions, anchors, chunk.truth, chunk.pairs))
            contest.compete(pairs, ious, is_inside & (ious > 0))
        return contest


def _enlarged(boxes: Tensor, stride: Tensor) -> Tensor:
    """(N, G, 4): sides shorter than the finest stride made as long as the next one, about the same centre.

    stride: (L,) of the levels, in pixels.
    """
    ordered = stride.sort().values
    is_short = boxes[..., 2:] - boxes[..., :2] < ordered[0]
    reach = ordered[min(1, len(ordered) - 1)] / 2
    low = torch.where(is_short, centers(boxes) - reach, boxes[..., :2])
    return torch.cat((low, torch.where(is_short, centers(boxes) + reach, boxes[..., 2:])), -1)
