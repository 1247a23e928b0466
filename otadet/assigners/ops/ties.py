"""Who gets an anchor that several boxes want: the ends of most rules, and the rules that OTA replaces (Tab. 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops.inputs import on_host
from otadet.assigners.ops.pairs import Pairs, write_first
from otadet.assigners.ops.values import PairValues
from otadet.boxes import area
from otadet.structures import BACKGROUND, Assignment

RULES = ("min_area", "max_iou", "min_loss")
"""What OTA may be preceded by."""


@dataclass
class Contest:
    """The largest value wins an anchor, from one or several lists of pairs; of equal ones that of the first box.

    The value is the IoU for the rule Max IoU, the negative area for Min Area, the negative cost for the cheapest. An
    addition costs what its pairs cost, whatever the number of anchors.
    """

    value: Tensor
    """(N, A) the largest value so far, -inf at an anchor that nobody competes for."""
    winner: Tensor
    """(N, A) int64 row of the image's boxes, or `BACKGROUND` where nobody competes."""
    count: Tensor
    """(N, A) int32 the number of boxes that claim the anchor."""
    boxes_per_image: int
    """G."""
    is_fresh: bool = True
    """Nobody has competed yet."""

    @classmethod
    def empty(cls, truth: PaddedTruth, num_anchors: int) -> Contest:
        """Nobody yet competes for the `num_anchors` anchors of each image."""
        size = (len(truth.boxes), num_anchors)
        winner = truth.labels.new_full(size, BACKGROUND)
        count = torch.zeros(size, dtype=torch.int32, device=winner.device)
        return cls(truth.boxes.new_full(size, -torch.inf), winner, count, truth.boxes.shape[1])

    def add(self, pairs: Pairs, value: Tensor, claimed: Tensor | None = None) -> None:
        """Boxes claim anchors, and compete for them.

        Args:
            pairs: of boxes and anchors of the batch.
            value: (P,) by which the claims on an anchor are compared.
            claimed: (P,) bool, the pairs that are claims; all valid ones by default.
        """
        self.compete(pairs, value, claimed)
        self.claim(pairs, pairs.valid if claimed is None else claimed & pairs.valid)

    def compete(self, pairs: Pairs, value: Tensor, competes: Tensor | None = None) -> None:
        """As `add`, without a claim: the boxes win anchors, but do not make them ambiguous.

        A new largest value replaces the winner; an equal one competes by the number of its box.
        """
        largest, winner, nobody = self.value.view(-1), self.winner.view(-1), self.boxes_per_image
        if not on_host(value):
            competes = pairs.valid if competes is None else competes & pairs.valid
        if competes is not None:
            value = torch.where(competes, value, -torch.inf)
        before = None if self.is_fresh else largest.index_select(0, pairs.anchor_row)
        largest.scatter_reduce_(0, pairs.anchor_row, value, "amax")
        now = largest.index_select(0, pairs.anchor_row)
        is_largest = value == now if competes is None else competes & (value == now)
        first = torch.where(is_largest, pairs.gt_index, nobody)
        if before is not None:
            defender = winner.index_select(0, pairs.anchor_row)
            defender = torch.where((now > before) | (defender == BACKGROUND), nobody, defender)
            first = torch.minimum(first, defender)
        write_first(winner, pairs.anchor_row, first, nobody)
        self.is_fresh = False

    def claim(self, pairs: Pairs, claimed: Tensor) -> None:
        """Count the pairs that are `claimed` (P,) bool."""
        self.count.view(-1).index_add_(0, pairs.anchor_row, claimed.to(self.count.dtype))

    def resolved_among(self, contenders: Contest) -> Assignment:
        """An anchor goes to its only claimant; if several claim it, to the best of `contenders`, claimants or not."""
        is_ambiguous = self.count > 1
        return Assignment(torch.where(is_ambiguous, contenders.winner, self.winner), is_ambiguous)

    def assignment(self) -> Assignment:
        """Each anchor to its winner; ambiguous where two or more boxes claim it."""
        return Assignment(self.winner, self.count > 1)


@dataclass
class CheapestWins:
    """SimOTA's and LLA's end: an anchor goes to its only taker; if several take it, to the box that it costs least.

    That is sought among all boxes that have the anchor as a candidate, takers or not.
    """

    contest: Contest
    """Of all candidates, by their negative cost."""
    taker: Tensor
    """(N, A) int64 the box that takes the anchor, or `BACKGROUND`; without meaning where several take it."""

    @classmethod
    def empty(cls, truth: PaddedTruth, num_anchors: int) -> CheapestWins:
        """Nobody has a candidate yet."""
        contest = Contest.empty(truth, num_anchors)
        return cls(contest, torch.full_like(contest.winner, BACKGROUND))

    def add(self, pairs: Pairs, cost: Tensor, taken: Pairs) -> None:
        """Candidates with their `cost` (P,), and those of them that their boxes take."""
        self.contest.compete(pairs, -cost)
        self.contest.claim(taken, taken.valid)
        number = taken.gt_index - BACKGROUND
        if not on_host(cost):
            number = number * taken.valid
        # A sum: with a single taker its gt_index.
        self.taker.view(-1).index_add_(0, taken.anchor_row, number)

    def assignment(self) -> Assignment:
        """Ambiguous where two or more boxes take the anchor."""
        is_ambiguous = self.contest.count > 1
        return Assignment(torch.where(is_ambiguous, self.contest.winner, self.taker, out=self.taker), is_ambiguous)


def check_ambiguity(rule: str | None) -> None:
    """Raise `ValueError` for an unknown rule."""
    if rule is not None and rule not in RULES:
        raise ValueError(f"ambiguity {rule!r}: choose {', '.join(map(repr, RULES))} or None")


def tie_key(rule: str, values: PairValues, cost: Tensor) -> Tensor:
    """(P,) by which the boxes that want an anchor are compared: the smallest gets it.

    min_area: square pixels of the box. max_iou: IoU of the predicted box with it, negated. min_loss: the pair's `cost`
    (P,), Eq. 2 up to what is common to an anchor's pairs.
    """
    if rule == "min_area":
        return area(values.gt_boxes)
    return -values.iou if rule == "max_iou" else cost


def keep_smallest(pairs: Pairs, key: Tensor) -> Pairs:
    """The pairs, of each anchor only the one whose `key` (P,) is smallest; among equals the first box's."""
    key = key.nan_to_num(torch.inf, torch.inf, -torch.inf)
    winner = pairs.first_box(key == pairs.smallest_per_anchor(key)).flatten()
    return pairs.only(winner[pairs.anchor_row] == pairs.gt_index)


def supply_of_owners(supply: Tensor, pairs: Pairs) -> Tensor:
    """(N, G) `supply`, and 0 for a box that has lost all its pairs: nobody could take its labels."""
    return torch.where(pairs.count_per_box() > 0, supply, 0)
