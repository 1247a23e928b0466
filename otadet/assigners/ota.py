"""OTA: label assignment as optimal transport (Ge et al., CVPR 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth, pad_truths
from otadet.assigners.ops.candidates import check_prior, find_candidates
from otadet.assigners.ops.costs import BoxCost, ClassCost, FocalCost, IoUCost
from otadet.assigners.ops.inputs import check_batch
from otadet.assigners.ops.pair_costs import PairCost, chosen_cost
from otadet.assigners.ops.pairs import Pairs
from otadet.assigners.ops.sinkhorn import Plan, Problem, sinkhorn
from otadet.assigners.ops.supplies import supplies
from otadet.assigners.ops.ties import check_ambiguity, keep_smallest, supply_of_owners, tie_key
from otadet.assigners.ops.used import UsedAnchors, number_used_anchors
from otadet.assigners.ops.values import gather
from otadet.structures import Anchors, Assignment, GroundTruth, Predictions

AMBIGUOUS_BELOW = 0.9
"""An anchor whose largest share is smaller is ambiguous (Sec. 4.2)."""


@dataclass(frozen=True)
class OTAAssigner(Assigner):
    """Exact OTA: boxes supply labels, anchors demand one each, and the cheapest transport decides. As in the paper.

    1. Candidates: the points near the centre of each box (`prior`, `radius`).
    2. The cost of a pair is class loss + `iou_weight` * IoU loss (Eq. 2), or another `cost`; that of background is the
       class loss against no class (Eq. 3).
    3. A box supplies as many labels as the sum of the `top_q` IoUs of its candidates, at least 1 (dynamic k); the
       background supplies the rest.
    4. Sinkhorn-Knopp finds the cheapest transport plan.
    5. Each anchor goes to the supplier that transports the largest share of its maximum there.

    One solve for the whole batch, on the candidates alone: an anchor outside every centre prior can only be background,
    so the dense (G + 1, A) problem is the problem on the candidates plus one closed-form term; see `sinkhorn`. Memory
    is O(N G K + N A), whatever the number of classes.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,))([torch.empty(1, 1, 1, 4)])
    >>> anchors.points.tolist()
    [[4.0, 4.0], [12.0, 4.0], [20.0, 4.0], [28.0, 4.0]]
    >>> truth = GroundTruth(torch.tensor([[0.0, 0, 16, 8], [8.0, 0, 32, 8]]), torch.tensor([0, 1]))

    Point 1 lies in both boxes. It predicts the second one, with its class:

    >>> predictions = Predictions(
    ...     logits=torch.tensor([[[2.0, -4], [-4, 2], [-4, 2], [-4, -4]]]),
    ...     boxes=truth.boxes[[0, 1, 1, 1]][None],
    ... )
    >>> OTAAssigner()(predictions, anchors, [truth]).gt_index
    tensor([[0, 1, 1, 1]])
    """

    gives_scores = False

    radius: float = 2.5
    """Of the centre prior, in strides. The paper's r = 3, 5, 7 are 1.5, 2.5, 3.5."""
    top_q: int = 20
    """IoUs of a box's candidates that are summed up for dynamic k."""
    iou_weight: float = 1.5
    """Weight of the box cost beside the class cost: alpha of Eq. 2."""
    eps: float = 0.1
    """The regularisation, the paper's gamma. Costs of a box that differ by more than some 1000 eps are beyond the range
    of the numbers."""
    iterations: int = 50
    """Of Sinkhorn-Knopp."""
    k: int | None = None
    """Labels per box, in place of dynamic k."""
    prior: str = "window"
    """Which points are candidates: "window", "nearest" or "none", see `find_candidates`."""
    class_cost: ClassCost = field(default_factory=FocalCost)
    """Loss of a logit against 0 and 1."""
    box_cost: BoxCost = field(default_factory=IoUCost)
    """Loss of a predicted box."""
    tolerance: float | None = None
    """Stop the iterations when no potential moves by more; on an accelerator that forces a sync. None: never."""
    ambiguity: str | None = None
    """The ablation of Tab. 3: candidates that several boxes want are first given to one of them: "min_area", the
    smallest box; "max_iou", the one that the anchor predicts best; "min_loss", the one of least cost. OTA then only
    tells positives from negatives, and a box may be left without any."""
    cost: PairCost | None = None
    """A whole cost, such as `OTACost.rtmdet()`, in place of `class_cost`, `box_cost` and `iou_weight`."""

    def __post_init__(self) -> None:
        check_prior(self.prior, self.radius, self.top_q, self.k)
        check_ambiguity(self.ambiguity)
        for name in ("eps", "iterations"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)}: must be above 0")

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        pairs = self.find_pairs(predictions, anchors, truth)
        used = number_used_anchors(pairs)
        plan, cost = self.transport(predictions, anchors, truth, pairs, used)
        return most_transported(plan, cost, pairs, used)

    @torch.no_grad()
    def mass(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> Tensor:
        """(G, A) labels that each box transports to each anchor of one image, for looking at: pi of Eq. 1.

        Raises `ValueError` as a call does.
        """
        check_batch(predictions, anchors, [truth])
        padded = pad_truths([truth], predictions.logits.shape[-1])
        pairs = self.find_pairs(predictions, anchors, padded)
        plan, _ = self.transport(predictions, anchors, padded, pairs, number_used_anchors(pairs))
        mass = plan.mass.new_zeros(len(truth.boxes), len(anchors.points))
        return mass.index_put_((pairs.gt_row, pairs.anchor_row), plan.mass * pairs.valid, accumulate=True)

    def find_pairs(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Pairs:
        """Which box may have which anchor."""
        pairs = find_candidates(anchors, truth, self.prior, self.radius).pairs(len(anchors.points))
        if self.ambiguity is None:
            return pairs
        values = gather(predictions, anchors, truth, pairs)
        return keep_smallest(pairs, tie_key(self.ambiguity, values, self.pair_cost(values)))

    def transport(
        self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, pairs: Pairs, used: UsedAnchors
    ) -> tuple[Plan, Tensor]:
        """The optimal plan and the cost (P,) of each pair, Algorithm 1, lines 3 to 15."""
        values = gather(predictions, anchors, truth, pairs)
        cost = torch.where(pairs.valid, self.pair_cost(values), torch.inf)
        supply = supplies(values.iou, truth, pairs, self.k, self.top_q)
        if self.ambiguity is not None:
            supply = supply_of_owners(supply, pairs)
        problem = Problem(cost, pairs.gt_row, used.index, supply, used.count, pairs.num_anchors)
        return sinkhorn(problem, self.eps, self.iterations, self.tolerance), cost

    @property
    def pair_cost(self) -> PairCost:
        """The whole cost of a pair."""
        return chosen_cost(self.cost, self.iou_weight, self.class_cost, self.box_cost)


def most_transported(plan: Plan, cost: Tensor, pairs: Pairs, used: UsedAnchors) -> Assignment:
    """Divide each row of the plan by its maximum; each anchor goes to the row with the largest share.

    An anchor that is the best of several boxes has a share of 1 for each. It goes to the one of least `cost` (P,), so
    that the order of the boxes does not matter.
    """
    smallest = torch.finfo(plan.mass.dtype).tiny
    # The background's maximum is at an anchor that nobody else reaches, where there is one.
    elsewhere = plan.untouched[:, None] * (pairs.num_anchors > used.count)
    background_best = plan.background.amax(1, keepdim=True).maximum(elsewhere)
    background_share = plan.background / background_best.clamp(min=smallest)
    # Padding transports nothing, so its shares are 0.
    share = plan.mass / pairs.largest_per_box(plan.mass, start=smallest, masked=True)
    pairs_of_used = used.renumbered(pairs)
    wins = (share > 0) & (share == pairs_of_used.largest_per_anchor(share, background_share, masked=True))
    cost = torch.where(wins, cost, torch.inf)
    wins &= cost == pairs_of_used.smallest_per_anchor(cost, masked=True)
    is_unsure = pairs_of_used.largest_per_anchor(plan.mass, plan.background, masked=True) < AMBIGUOUS_BELOW
    return Assignment(pairs.first_box(wins), pairs.any_of_anchor(is_unsure))
