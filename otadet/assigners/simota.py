"""SimOTA: the top-k approximation of OTA (Ge et al., YOLOX, 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.candidates import check_prior, find_candidates, window
from otadet.assigners.ops.chunks import pairs_at_once, shared_blocks
from otadet.assigners.ops.claims import Claims
from otadet.assigners.ops.costs import (
    BackgroundCosts,
    BoxCost,
    ClassCost,
    FocalCost,
    IoUCost,
    JointBCECost,
    look_up,
    relative_cost,
    supplies,
)
from otadet.assigners.ops.pairs import Pairs, pack
from otadet.structures import Anchors, Assignment, Predictions

FAR = 1e6
"""YOLOX's extra cost of an anchor that only other boxes have near their centre."""


@dataclass(frozen=True)
class SimOTAAssigner(Assigner):
    """Each box takes its k cheapest candidates; an anchor taken twice goes to the box to which it is cheapest.

    As in YOLOX the cheapest is sought among all boxes that have the anchor as a candidate, and a box may lose all its
    anchors to others. The defaults are OTA's costs and prior; `SimOTAAssigner.yolox()` has YOLOX's settings and gives
    its assignment.

    radius, prior, top_q, k, iou_weight, class_cost, box_cost: as in `OTAAssigner`. shared: YOLOX's candidate rule, in
    place of `prior`: an anchor strictly within `radius` strides of any box's centre, in that box or not, is a candidate
    of every box of its image, at an extra cost where it is not near the box's own centre.
    """

    radius: float = 2.5
    top_q: int = 20
    iou_weight: float = 1.5
    k: int | None = None
    prior: str = "window"
    class_cost: ClassCost = field(default_factory=FocalCost)
    box_cost: BoxCost = field(default_factory=IoUCost)
    shared: bool = False

    def __post_init__(self) -> None:
        check_prior(self.prior, self.radius, self.top_q, self.k)

    @classmethod
    def yolox(cls) -> SimOTAAssigner:
        """YOLOX's defaults: top 10, IoU weight 3, radius 1.5, its candidate rule, BCE of sqrt(class * objectness)."""
        return cls(
            radius=1.5, top_q=10, iou_weight=3.0, class_cost=JointBCECost(), box_cost=IoUCost(eps=1e-8), shared=True
        )

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        background = BackgroundCosts(predictions, self.class_cost)
        if self.shared:
            return self._assign_shared(predictions, anchors, truth, background)
        pairs = pack(find_candidates(anchors, truth, self.prior, self.radius), len(anchors.points))
        cost, supply = self._cost_and_supply(predictions, truth, pairs)
        return cheapest(cost + background.at(pairs), supply, pairs, self._most)

    def _assign_shared(
        self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth, background: BackgroundCosts
    ) -> Assignment:
        """As `assign`, a block of boxes at a time: there are as many pairs as boxes times candidates."""
        taken, held = Claims.none(truth, len(anchors.points)), Claims.none(truth, len(anchors.points))
        near = pack(window(anchors, truth, self.radius, inside=False), len(anchors.points))
        for block, is_near in shared_blocks(near, truth, pairs_at_once(predictions) // 2):
            pairs, box = block.pairs, block.row[block.pairs.box]
            cost, supply = self._cost_and_supply(predictions, block.truth, pairs)
            cost = cost + background.at(pairs) + FAR * ~is_near
            taken.add(pairs, box, -cost, take(cost, supply, pairs, self._most))
            held.add(pairs, box, -cost, pairs.real)
        return taken.settled_by(held)

    @property
    def _most(self) -> int:
        """Anchors that a box takes at the most."""
        return self.k or self.top_q

    def _cost_and_supply(self, predictions: Predictions, truth: PaddedTruth, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(P,) cost, less that of background, and (N, G) labels of each box."""
        values = look_up(predictions, truth, pairs)
        cost = relative_cost(values, self.class_cost, self.box_cost, self.iou_weight)
        return cost, supplies(values.overlap, truth, pairs, self.k, self.top_q)


def cheapest(cost: Tensor, supply: Tensor, pairs: Pairs, most: int) -> Assignment:
    """Each box takes its `supply` (N, G) cheapest pairs, at most `most`; see `SimOTAAssigner` for ties. cost: (P,)."""
    taken = take(cost, supply, pairs, most)
    takers = pairs.per_anchor(taken)
    cost = torch.where(pairs.real, cost, torch.inf)
    least = cost.new_full((takers.numel(),), torch.inf).scatter_reduce_(0, pairs.anchor, cost, "amin")
    wins = torch.where((takers > 1).flatten()[pairs.anchor], cost == least[pairs.anchor], taken)
    return Assignment(pairs.first_box(wins), takers > 1)


def take(cost: Tensor, supply: Tensor, pairs: Pairs, most: int) -> Tensor:
    """(P,) bool: whether the pair is among the `supply` (N, G) cheapest of its box, at most `most`. cost: (P,)."""
    ranked = pairs.table(cost, torch.inf)
    ranked = ranked.topk(min(most, ranked.shape[-1]), dim=-1, largest=False)
    rank = torch.arange(ranked.values.shape[-1], device=cost.device)
    is_taken = (rank < supply[..., None]) & ranked.values.isfinite()
    taken = torch.zeros(pairs.table_size, dtype=torch.bool, device=cost.device)
    return taken.scatter_(-1, ranked.indices, is_taken).flatten()[pairs.slot]
