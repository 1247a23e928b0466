"""The candidate pairs of a batch as one list, and what a rule asks of them: the best per box, the best per anchor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otadet.assigners.ops.inputs import on_host
from otadet.structures import BACKGROUND


@dataclass(frozen=True)
class Pairs:
    """`P` pairs of a box and an anchor, box by box.

    On a CPU these are the valid candidates alone. On an accelerator they are the whole padded table, row by row:
    counting the valid entries would force a sync.
    """

    gt_row: Tensor
    """(P,) int64 row of the batch's boxes, `image * G + gt_index`, ascending."""
    anchor_row: Tensor
    """(P,) int64 row of the batch's anchors, `image * A + anchor_index`."""
    valid: Tensor
    """(P,) bool: false where the pair is padding."""
    table_index: Tensor
    """(P,) int64 place in the flattened (N, G, K) table, ascending."""
    table_size: tuple[int, int, int]
    """N, G, K. K is 0 for a list that stands in no table."""
    num_anchors: int
    """A."""

    @property
    def num_boxes(self) -> int:
        """Rows of boxes in the batch, N * G."""
        return self.table_size[0] * self.table_size[1]

    @property
    def image(self) -> Tensor:
        """(P,) int64."""
        return self.gt_row.div(self.table_size[1], rounding_mode="floor")

    @property
    def gt_index(self) -> Tensor:
        """(P,) int64 row of the image's boxes, as in `Assignment`."""
        return self.gt_row.remainder(self.table_size[1])

    @property
    def anchor_index(self) -> Tensor:
        """(P,) int64 row of the image's anchors, in [0, A)."""
        return self.anchor_row.remainder(self.num_anchors)

    def only(self, kept: Tensor) -> Pairs:
        """The pairs that are `kept` (P,) bool; on an accelerator the others stay as padding."""
        if not on_host(kept):
            return replace(self, valid=self.valid & kept)
        row = (self.valid & kept).nonzero().squeeze(1)
        gt_row, anchor_row = self.gt_row.index_select(0, row), self.anchor_row.index_select(0, row)
        table_index = self.table_index.index_select(0, row)
        return replace(self, gt_row=gt_row, anchor_row=anchor_row, valid=self.valid[row], table_index=table_index)

    def table(self, values: Tensor, padding: float) -> Tensor:
        """(P,) -> (N, G, K), with `padding` where there is no pair."""
        values = torch.where(self.valid, values, padding)
        if not on_host(values):
            return values.view(self.table_size)
        table = values.new_full((self.num_boxes * self.table_size[2],), padding)
        return table.index_copy_(0, self.table_index, values).view(self.table_size)

    def cheapest(
        self, cost: Tensor, k: int, supply: Tensor | None = None, *, below: float = torch.inf
    ) -> tuple[Pairs, Tensor]:
        """The `k` pairs of each box with the least cost, as pairs in a table (N, G, k), each box's cheapest first.

        Also int64 rows: which of these pairs they are, so that `values[rows]` are theirs.

        Args:
            cost: (P,); NaN is never taken.
            k: the most pairs per box.
            supply: (N, G) that a box takes no more than.
            below: a pair that costs as much or more is not taken.
        """
        costs = self.table(cost, torch.inf)
        width = costs.shape[-1]
        best = costs.topk(min(k, width), dim=-1, largest=False)
        taken = best.values < below
        if supply is not None:
            taken &= torch.arange(taken.shape[-1], device=cost.device) < supply[..., None]
        first = torch.arange(0, self.num_boxes * max(1, width), max(1, width), device=cost.device)
        place = (best.indices.flatten(0, 1) + first[:, None]).flatten()
        table_size = (*self.table_size[:2], taken.shape[-1])
        taken = taken.flatten()
        if on_host(cost):
            table_index = taken.nonzero().squeeze(1)
            taken = torch.ones_like(table_index, dtype=torch.bool)
            place = self._rows_at(place.index_select(0, table_index))
        else:
            table_index = torch.arange(taken.numel(), device=cost.device)
        gt_row, anchor_row = self.gt_row.index_select(0, place), self.anchor_row.index_select(0, place)
        return Pairs(gt_row, anchor_row, taken, table_index, table_size, self.num_anchors), place

    def _rows_at(self, place: Tensor) -> Tensor:
        """The pairs at places of the flattened table that hold one, for a list without padding."""
        if len(place) < max(512, len(self.table_index) // 16):
            return torch.searchsorted(self.table_index, place)
        # For many places a table of the rows is faster; what nobody writes there is never read.
        row = torch.arange(len(self.table_index))
        table = row.new_empty(self.num_boxes * self.table_size[2])
        return table.index_copy_(0, self.table_index, row).index_select(0, place)

    def cheapest_per_group(self, cost: Tensor, k: int, group: Tensor, num_groups: int) -> tuple[Pairs, Tensor]:
        """As `cheapest`, but `k` pairs of each box and `group` (P,) int64 in [0, num_groups): the anchor's level, say.

        The new table is (N, G, num_groups * k). By sorting the list: no table of these pairs is made, and they need
        not stand in one.
        """
        group = torch.where(self.valid, self.gt_row * num_groups + group, self.num_boxes * num_groups)
        order = cost.argsort(stable=True)
        order = order[group[order].argsort(stable=True)]
        group = group[order]
        rank = torch.arange(len(group), device=group.device) - torch.searchsorted(group, group)
        taken = (rank < k) & self.valid[order]
        table_size = (*self.table_size[:2], num_groups * k)
        places = self.num_boxes * num_groups * k
        table_index = torch.where(taken, group * k + rank, places)
        if on_host(cost):
            kept = taken.nonzero().squeeze(1)
            place, taken, table_index = order[kept], taken[kept], table_index[kept]
            gt_row = self.gt_row[place]
        else:
            # What is not taken goes to one place more, which is cut off.
            place = order.new_zeros(places + 1).scatter_(0, table_index, order)[:-1]
            taken = taken.new_zeros(places + 1).scatter_(0, table_index, taken)[:-1]
            table_index = torch.arange(places, device=cost.device)
            gt_row = table_index.div(num_groups * k, rounding_mode="floor")
        return Pairs(gt_row, self.anchor_row[place], taken, table_index, table_size, self.num_anchors), place

    def largest_per_anchor(self, values: Tensor, start: Tensor | float = -torch.inf, *, masked: bool = False) -> Tensor:
        """(P,) -> (P,) the largest value among the valid pairs of the same anchor, at each of them.

        `values == pairs.largest_per_anchor(values)` are the pairs that are best for their anchor, several where values
        are equal.

        Args:
            values: of the pairs.
            start: (N, A), or one number, that counts as a value of each anchor.
            masked: the values of the padding are already such that they cannot be the largest.
        """
        values = values if masked else torch.where(self.valid, values, -torch.inf)
        return self._extreme_per_anchor(values, start, "amax")

    def smallest_per_anchor(self, values: Tensor, *, masked: bool = False) -> Tensor:
        """As `largest_per_anchor`, the smallest."""
        values = values if masked else torch.where(self.valid, values, torch.inf)
        return self._extreme_per_anchor(values, torch.inf, "amin")

    def _extreme_per_anchor(self, values: Tensor, start: Tensor | float, reduction: str) -> Tensor:
        if isinstance(start, Tensor):
            extreme = start.flatten().scatter_reduce(0, self.anchor_row, values, reduction)
        else:
            extreme = values.new_full((self.table_size[0] * self.num_anchors,), start)
            extreme.scatter_reduce_(0, self.anchor_row, values, reduction)
        return extreme.index_select(0, self.anchor_row)

    def largest_per_box(self, values: Tensor, start: float = -torch.inf, *, masked: bool = False) -> Tensor:
        """(P,) -> (P,) the largest value among the valid pairs of the same box, at least `start`, at each of them."""
        values = values if masked else torch.where(self.valid, values, start)
        largest = values.new_full((self.num_boxes,), start).scatter_reduce_(0, self.gt_row, values, "amax")
        return largest.index_select(0, self.gt_row)

    def count_per_box(self) -> Tensor:
        """(N, G) int64 the number of valid pairs."""
        counts = self.gt_row.new_zeros(self.num_boxes)
        return counts.index_add_(0, self.gt_row, self.valid.to(counts.dtype)).view(self.table_size[:2])

    def of_anchors(self, values: Tensor) -> Tensor:
        """(P,) values of pairs of which an anchor is in one at most -> (N, A) float32, 0 where it is in none."""
        table = torch.zeros(self.table_size[0], self.num_anchors, device=values.device)
        values = torch.where(self.valid, values, 0).to(table.dtype)
        return table.view(-1).index_copy_(0, self.anchor_row, values).view_as(table)

    def first_box(self, condition: Tensor) -> Tensor:
        """(P,) bool -> (N, A) int64: an anchor's first box that fulfils the condition, or `BACKGROUND`."""
        num_images, num_boxes, _ = self.table_size
        gt_index = torch.where(condition & self.valid, self.gt_index, num_boxes)
        first = gt_index.new_full((num_images * self.num_anchors,), BACKGROUND)
        write_first(first, self.anchor_row, gt_index, num_boxes)
        return first.view(num_images, self.num_anchors)

    def any_of_anchor(self, condition: Tensor) -> Tensor:
        """(P,) bool -> (N, A) bool: whether some pair of an anchor fulfils the condition."""
        fulfils = (condition & self.valid).to(torch.uint8)
        some = fulfils.new_zeros(self.table_size[0] * self.num_anchors)
        some.scatter_reduce_(0, self.anchor_row, fulfils, "amax")
        return some.view(torch.bool).view(self.table_size[0], self.num_anchors)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """All pairs of at least one list, such as those of the chunks of a batch; in no table, and in the order given."""
    gt_row, anchor_row, valid, table_index = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("gt_row", "anchor_row", "valid", "table_index")
    )
    first = parts[0]
    return Pairs(gt_row, anchor_row, valid, table_index, (*first.table_size[:2], 0), first.num_anchors)


def owned(owner: Tensor, num_boxes: int) -> Pairs:
    """The pairs of each anchor with its owner (N, A), if it has one; in the order of the anchors. num_boxes: G."""
    num_images, num_anchors = owner.shape
    valid = (owner >= 0).flatten()
    row = valid.nonzero().squeeze(1) if on_host(valid) else torch.arange(len(valid), device=valid.device)
    image = row.div(num_anchors, rounding_mode="floor")
    gt_row = image * num_boxes + owner.flatten()[row].clamp(min=0)
    return Pairs(gt_row, row, valid[row], row, (num_images, num_boxes, 0), num_anchors)


def write_first(winner: Tensor, anchor_row: Tensor, gt_index: Tensor, nobody: int) -> None:
    """Put the smallest `gt_index` (P,) of each anchor into `winner` (N * A,), `BACKGROUND` where that is `nobody`.

    What an anchor had is overwritten; the anchors without a pair cost nothing.
    """
    winner.scatter_reduce_(0, anchor_row, gt_index, "amin", include_self=False)
    first = winner.index_select(0, anchor_row)
    # The pairs of an anchor all write the same.
    winner.scatter_(0, anchor_row, torch.where(first < nobody, first, BACKGROUND))
