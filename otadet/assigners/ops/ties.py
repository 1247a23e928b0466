"""Hand-crafted rules that give a candidate wanted by several boxes to one of them, before OTA (Tab. 3)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from otadet.assigners.ops.costs import PairValues
from otadet.assigners.ops.inputs import can_look
from otadet.assigners.ops.pairs import Pairs
from otadet.boxes import area

RULES = ("min_area", "max_iou", "min_loss")


def check_ambiguity(rule: str | None) -> None:
    """Raise `ValueError` for a rule that there is not."""
    if rule is not None and rule not in RULES:
        raise ValueError(f"ambiguity {rule!r}: choose {', '.join(map(repr, RULES))} or None")


def claim(rule: str, values: PairValues, cost: Tensor) -> Tensor:
    """(P,) by which the boxes that want an anchor are compared: it is given to the smallest.

    min_area: square pixels of the box. max_iou: IoU of the predicted box with it, negated. min_loss: the pair's `cost`
    (P,), Eq. 2 up to what is common to an anchor's pairs.
    """
    if rule == "min_area":
        return area(values.truth)
    return -values.overlap if rule == "max_iou" else cost


def keep_smallest(pairs: Pairs, claim: Tensor) -> Pairs:
    """The pairs, of each anchor only the one whose `claim` (P,) is smallest; among equals the first box's."""
    claim = torch.where(pairs.real & ~claim.isnan(), claim, torch.inf)
    smallest = claim.new_full((pairs.table_size[0] * pairs.num_anchors,), torch.inf)
    smallest.scatter_reduce_(0, pairs.anchor, claim, "amin")
    winner = pairs.first_box(claim == smallest[pairs.anchor]).flatten()
    kept = pairs.real & (winner[pairs.anchor] == pairs.box.remainder(pairs.table_size[1]))
    return _only(pairs, kept)


def supply_of_owners(supply: Tensor, pairs: Pairs) -> Tensor:
    """(N, G) `supply`, and 0 for a box that has lost all its pairs: nobody could take its labels."""
    left = torch.zeros_like(supply).view(-1).index_add_(0, pairs.box, pairs.real.to(supply.dtype))
    return torch.where(left.view_as(supply) > 0, supply, 0)


def _only(pairs: Pairs, kept: Tensor) -> Pairs:
    if can_look(kept):
        return replace(
            pairs, box=pairs.box[kept], anchor=pairs.anchor[kept], real=pairs.real[kept], slot=pairs.slot[kept]
        )
    return replace(pairs, real=kept)
