"""OTA: label assignment as optimal transport (Ge et al., CVPR 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth, pad_truths
from otadet.assigners.ops.candidates import check_prior, find_candidates
from otadet.assigners.ops.costs import (
    BoxCost,
    ClassCost,
    FocalCost,
    IoUCost,
    PairValues,
    look_up,
    relative_cost,
    supplies,
)
from otadet.assigners.ops.inputs import check_batch
from otadet.assigners.ops.pairs import Columns, Pairs, number_columns, pack
from otadet.assigners.ops.sinkhorn import Plan, sinkhorn
from otadet.assigners.ops.ties import check_ambiguity, claim, keep_smallest, supply_of_owners
from otadet.structures import Anchors, Assignment, GroundTruth, Predictions

AMBIGUOUS_BELOW = 0.9
"""An anchor whose largest share is smaller is ambiguous (Sec. 4.2)."""


@dataclass(frozen=True)
class OTAAssigner(Assigner):
    """Exact OTA, one solve for the whole batch, on the candidates alone. The defaults are the paper's.

    An anchor outside every centre prior can only be background, so the dense (G + 1, A) problem is the problem on the
    candidates plus one closed-form term; see `sinkhorn`. Memory is O(N G K + N A), whatever the number of classes.

    radius: of the centre prior, in strides; the paper's r = 3, 5, 7 are 1.5, 2.5, 3.5. prior: "window", "nearest" or
    "none", see `find_candidates`. top_q: IoUs summed up for dynamic k; k: a fixed number of labels a box instead.
    iou_weight: alpha of Eq. 2. eps: the regularisation gamma; costs of a box that differ by more than some 1000 eps are
    beyond the number range. iterations: of Sinkhorn-Knopp. tolerance: stop earlier, when no potential moves by more
    (which waits for the device). ambiguity: the ablation of Tab. 3, where candidates wanted by several boxes are first
    given to one of them: "min_area", the smallest box; "max_iou", the one that the anchor predicts best; "min_loss",
    the one of least cost. OTA then only tells positives from negatives, and a box may be left without any.
    """

    radius: float = 2.5
    top_q: int = 20
    iou_weight: float = 1.5
    eps: float = 0.1
    iterations: int = 50
    k: int | None = None
    prior: str = "window"
    class_cost: ClassCost = field(default_factory=FocalCost)
    box_cost: BoxCost = field(default_factory=IoUCost)
    tolerance: float | None = None
    ambiguity: str | None = None

    def __post_init__(self) -> None:
        check_prior(self.prior, self.radius, self.top_q, self.k)
        check_ambiguity(self.ambiguity)
        for name in ("eps", "iterations"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)}: must be above 0")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        pairs = self.find_pairs(predictions, anchors, truth)
        columns = number_columns(pairs)
        plan, cost = self.transport(predictions, truth, pairs, columns)
        return most_transported(plan, cost, pairs, columns)

    @torch.no_grad()
    def mass(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> Tensor:
        """(G, A) labels that each box transports to each anchor of one image, for looking at: pi of Eq. 1.

        Raises `ValueError` as a call does.
        """
        check_batch(predictions, anchors, [truth])
        padded = pad_truths([truth], predictions.logits.shape[-1])
        pairs = self.find_pairs(predictions, anchors, padded)
        plan, _ = self.transport(predictions, padded, pairs, number_columns(pairs))
        mass = plan.mass.new_zeros(len(truth.boxes), len(anchors.points))
        return mass.index_put_((pairs.box, pairs.anchor), plan.mass * pairs.real, accumulate=True)

    def find_pairs(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Pairs:
        """Which box may have which anchor."""
        pairs = pack(find_candidates(anchors, truth, self.prior, self.radius), len(anchors.points))
        if self.ambiguity is None:
            return pairs
        values = look_up(predictions, truth, pairs)
        return keep_smallest(pairs, claim(self.ambiguity, values, self._cost(values)))

    def transport(
        self, predictions: Predictions, truth: PaddedTruth, pairs: Pairs, columns: Columns
    ) -> tuple[Plan, Tensor]:
        """The optimal plan and the cost (P,) of each pair, Algorithm 1, lines 3 to 15."""
        values = look_up(predictions, truth, pairs)
        cost = torch.where(pairs.real, self._cost(values), torch.inf)
        supply = supplies(values.overlap, truth, pairs, self.k, self.top_q)
        if self.ambiguity is not None:
            supply = supply_of_owners(supply, pairs)
        plan = sinkhorn(
            cost,
            pairs.box,
            columns.index,
            supply,
            columns.count,
            pairs.num_anchors,
            self.eps,
            self.iterations,
            self.tolerance,
        )
        return plan, cost

    def _cost(self, values: PairValues) -> Tensor:
        return relative_cost(values, self.class_cost, self.box_cost, self.iou_weight)


def most_transported(plan: Plan, cost: Tensor, pairs: Pairs, columns: Columns) -> Assignment:
    """Divide each row of the plan by its maximum; each anchor goes to the row with the largest share.

    An anchor that is the best of several boxes has a share of 1 for each. It goes to the one of least `cost` (P,), so
    that the order of the boxes has no say.
    """
    # The background's maximum is at an anchor that nobody else reaches, where there is one.
    elsewhere = plan.untouched[:, None] * (pairs.num_anchors > columns.count)
    background_best = plan.background.amax(1, keepdim=True).maximum(elsewhere)
    smallest = torch.finfo(plan.mass.dtype).tiny
    background_share = (plan.background / background_best.clamp(min=smallest)).flatten()
    row_best = plan.mass.new_full((pairs.num_boxes,), smallest)
    row_best.scatter_reduce_(0, pairs.box, plan.mass, "amax")
    share = plan.mass / row_best[pairs.box]
    best = background_share.scatter_reduce(0, columns.index, share, "amax")
    wins = (share > 0) & (share == best[columns.index])
    cost = torch.where(wins, cost, torch.inf)
    wins &= cost == torch.full_like(best, torch.inf).scatter_reduce_(0, columns.index, cost, "amin")[columns.index]
    largest = plan.background.flatten().scatter_reduce(0, columns.index, plan.mass, "amax")
    unsure = (largest < AMBIGUOUS_BELOW)[columns.index]
    return Assignment(pairs.first_box(wins), pairs.any_of_anchor(unsure))
