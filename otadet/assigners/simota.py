"""SimOTA: the top-k approximation of OTA (Ge et al., YOLOX, 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.background import BackgroundCosts
from otadet.assigners.ops.candidates import check_prior, find_candidates, window
from otadet.assigners.ops.chunks import pairs_at_once, shared_chunks
from otadet.assigners.ops.costs import BoxCost, ClassCost, FocalCost, IoUCost, JointBCECost
from otadet.assigners.ops.pair_costs import PairCost, chosen_cost
from otadet.assigners.ops.pairs import Pairs
from otadet.assigners.ops.supplies import supplies
from otadet.assigners.ops.ties import CheapestWins
from otadet.assigners.ops.values import gather
from otadet.structures import Anchors, Assignment, Predictions

FOREIGN_COST = 1e6
"""YOLOX's extra cost of an anchor that only other boxes have near their centre."""


@dataclass(frozen=True)
class SimOTAAssigner(Assigner):
    """Each box takes its k cheapest candidates; an anchor taken twice goes to the box to which it is cheapest.

    1. Candidates: the points near the centre of each box (`prior`, `radius`), or near that of any box (`shared`).
    2. The cost of a pair is class loss + `iou_weight` * IoU loss, or another `cost`.
    3. A box takes its k cheapest candidates, k being the sum of the `top_q` IoUs of its candidates, at least 1.
    4. An anchor that several boxes take goes to the box to which it is cheapest. As in YOLOX that is sought among all
       boxes that have it as a candidate, and a box may lose all its anchors to others.

    The defaults are OTA's costs and prior; `SimOTAAssigner.yolox()` has YOLOX's settings and gives its assignment.

    >>> import torch
    >>> from otadet.models import AnchorGrid
    >>> from otadet.structures import GroundTruth, Predictions
    >>> anchors = AnchorGrid(strides=(8,))([torch.empty(1, 1, 1, 3)])
    >>> truth = GroundTruth(torch.tensor([[0.0, 0, 24, 8], [2.0, 0, 22, 8]]), torch.tensor([0, 1]))
    >>> predictions = Predictions(
    ...     logits=torch.tensor([[[4.0, -4], [2, 2], [-4, 4]]]), boxes=truth.boxes[[0, 1, 1]][None]
    ... )

    Both boxes take point 1, which predicts the second:

    >>> assignment = SimOTAAssigner(k=2)(predictions, anchors, [truth])
    >>> assignment.gt_index, assignment.ambiguous
    (tensor([[0, 1, 1]]), tensor([[False,  True, False]]))
    """

    gives_scores = False

    radius: float = 2.5
    """Of the centre prior, in strides."""
    top_q: int = 20
    """IoUs of a box's candidates that are summed up for dynamic k, and the most anchors that a box takes."""
    iou_weight: float = 1.5
    """Weight of the box cost beside the class cost."""
    k: int | None = None
    """Anchors per box, in place of dynamic k."""
    prior: str = "window"
    """Which points are candidates: "window", "nearest" or "none", see `find_candidates`."""
    class_cost: ClassCost = field(default_factory=FocalCost)
    """Loss of a logit against 0 and 1."""
    box_cost: BoxCost = field(default_factory=IoUCost)
    """Loss of a predicted box."""
    shared: bool = False
    """YOLOX's candidates, in place of `prior`: an anchor strictly within `radius` strides of any box's centre, in that
    box or not, is a candidate of every box of its image, at an extra cost where it is not near the box's own centre."""
    cost: PairCost | None = None
    """A whole cost, such as `OTACost.rtmdet()`, in place of `class_cost`, `box_cost` and `iou_weight`."""

    def __post_init__(self) -> None:
        check_prior(self.prior, self.radius, self.top_q, self.k)

    @classmethod
    def yolox(cls) -> SimOTAAssigner:
        """YOLOX's defaults: top 10, IoU weight 3, radius 1.5, its candidate rule, BCE of sqrt(class * objectness)."""
        return cls(
            radius=1.5, top_q=10, iou_weight=3.0, class_cost=JointBCECost(), box_cost=IoUCost(eps=1e-8), shared=True
        )

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        background = BackgroundCosts(predictions, self.pair_cost.negative)
        if self.shared:
            return self._assign_shared(predictions, anchors, truth, background)
        pairs = find_candidates(anchors, truth, self.prior, self.radius).pairs(len(anchors.points))
        cost, supply = self._cost_and_supply(predictions, anchors, truth, pairs)
        cost = cost + background.at(pairs)
        taken, _ = pairs.cheapest(cost, self._most, supply)
        ledger = CheapestWins.empty(truth, len(anchors.points))
        ledger.add(pairs, cost, taken)
        return ledger.assignment()

    def _assign_shared(
        self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, background: BackgroundCosts
    ) -> Assignment:
        """As `assign`, some boxes at a time: there are as many pairs as boxes times candidates."""
        ledger = CheapestWins.empty(truth, len(anchors.points))
        near = window(anchors, truth, self.radius, inside=False).pairs(len(anchors.points))
        for chunk, is_near in shared_chunks(near, truth, pairs_at_once(predictions) // 2):
            cost, supply = self._cost_and_supply(predictions, anchors, chunk.truth, chunk.pairs)
            cost = cost + background.at(chunk.pairs) + FOREIGN_COST * ~is_near
            taken, _ = chunk.pairs.cheapest(cost, self._most, supply)
            ledger.add(chunk.in_batch(chunk.pairs), cost, chunk.in_batch(taken))
        return ledger.assignment()

    @property
    def _most(self) -> int:
        """Anchors that a box takes at the most."""
        return self.k or self.top_q

    @property
    def pair_cost(self) -> PairCost:
        """The whole cost of a pair."""
        return chosen_cost(self.cost, self.iou_weight, self.class_cost, self.box_cost)

    def _cost_and_supply(
        self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, pairs: Pairs
    ) -> tuple[Tensor, Tensor]:
        """(P,) cost, less that of background, and (N, G) labels of each box."""
        values = gather(predictions, anchors, truth, pairs)
        return self.pair_cost(values), supplies(values.iou, truth, pairs, self.k, self.top_q)
