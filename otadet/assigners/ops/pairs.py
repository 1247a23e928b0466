"""The candidate pairs of a batch as one row of numbers, and sums and extremes of them by box or by anchor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.ops.candidates import Candidates
from otadet.assigners.ops.inputs import can_look
from otadet.structures import BACKGROUND


@dataclass(frozen=True)
class Pairs:
    """`P` pairs of a box and an anchor.

    On a CPU these are the real candidates. Elsewhere they are the whole padded table: to drop the padding would mean to
    wait for the device to say how much there is.
    """

    box: Tensor
    """(P,) int64 row of the batch's boxes, `image * G + g`, ascending."""
    anchor: Tensor
    """(P,) int64 row of the batch's anchors, `image * A + a`."""
    real: Tensor
    """(P,) bool: false where the pair is padding."""
    slot: Tensor
    """(P,) int64 place in the (N, G, K) table."""
    table_size: tuple[int, int, int]
    """N, G, K."""
    num_anchors: int
    """A."""

    @property
    def num_boxes(self) -> int:
        """Rows of boxes in the batch, N * G."""
        return self.table_size[0] * self.table_size[1]

    @property
    def image(self) -> Tensor:
        """(P,) int64."""
        return self.box.div(self.table_size[1], rounding_mode="floor")

    def table(self, values: Tensor, padding: float) -> Tensor:
        """(P,) -> (N, G, K), with `padding` where there is no pair."""
        values = torch.where(self.real, values, padding)
        table = values.new_full((self.table_size[0] * self.table_size[1] * self.table_size[2],), padding)
        return table.index_copy_(0, self.slot, values).view(self.table_size)

    def per_anchor(self, condition: Tensor) -> Tensor:
        """(P,) bool -> (N, A) int32: the number of an anchor's pairs that fulfil the condition."""
        counts = condition.new_zeros(self.table_size[0] * self.num_anchors, dtype=torch.int32)
        counts.index_add_(0, self.anchor, (condition & self.real).to(torch.int32))
        return counts.view(self.table_size[0], self.num_anchors)

    def first_box(self, condition: Tensor) -> Tensor:
        """(P,) bool -> (N, A) int64: an anchor's first box that fulfils the condition, or `BACKGROUND`."""
        num_images, num_boxes, _ = self.table_size
        box = torch.where(condition & self.real, self.box.remainder(num_boxes), num_boxes)
        first = box.new_full((num_images * self.num_anchors,), BACKGROUND)
        write_first(first, self.anchor, box, num_boxes)
        return first.view(num_images, self.num_anchors)

    def any_of_anchor(self, condition: Tensor) -> Tensor:
        """(P,) bool -> (N, A) bool: whether some pair of an anchor fulfils the condition."""
        fulfils = (condition & self.real).to(torch.uint8)
        some = fulfils.new_zeros(self.table_size[0] * self.num_anchors)
        some.scatter_reduce_(0, self.anchor, fulfils, "amax")
        return some.view(torch.bool).view(self.table_size[0], self.num_anchors)


def write_first(winner: Tensor, anchor: Tensor, box: Tensor, nobody: int) -> None:
    """Put the smallest `box` (P,) of each `anchor` (P,) into `winner` (N * A,), `BACKGROUND` where that is `nobody`.

    What an anchor had is overwritten; the anchors without a pair cost nothing.
    """
    winner.scatter_reduce_(0, anchor, box, "amin", include_self=False)
    first = winner.index_select(0, anchor)
    # The pairs of an anchor all write the same.
    winner.scatter_(0, anchor, torch.where(first < nobody, first, BACKGROUND))


def pack(candidates: Candidates, num_anchors: int) -> Pairs:
    """The pairs of a table of candidates."""
    size = tuple(candidates.anchor.shape)
    _, num_boxes, per_box = size
    real = candidates.valid.flatten()
    if can_look(real):
        slot = real.nonzero().squeeze(1)
        real = real[slot]
    else:
        slot = torch.arange(len(real), device=real.device)
    box = slot.div(per_box, rounding_mode="floor")
    anchor = candidates.anchor.reshape(-1)[slot] + box.div(num_boxes, rounding_mode="floor") * num_anchors
    return Pairs(box, anchor, real, slot, size, num_anchors)


@dataclass(frozen=True)
class Columns:
    """The anchors that are somebody's candidate, numbered image by image."""

    index: Tensor
    """(P,) int64 `image * B + column` of each pair."""
    count: int
    """B, columns an image; some may be unused."""

    def anchors(self, pairs: Pairs) -> Tensor:
        """(N * B,) the row of each column's anchor; 0 for a column that is unused."""
        anchor = pairs.anchor.new_zeros(pairs.table_size[0] * self.count)
        # Padding has the number of a real column: it must not overwrite that column's anchor.
        return anchor.scatter_reduce_(0, self.index, pairs.anchor * pairs.real, "amax")


def number_columns(pairs: Pairs) -> Columns:
    """Number the anchors that have a pair, so that later work does not depend on the size of the image."""
    num_images = pairs.table_size[0]
    place = torch.arange(len(pairs.anchor), device=pairs.anchor.device)
    # One pair of each anchor stands for it: any, as they all write to the same place. What nobody wrote is never read.
    stands_for = place.new_empty(num_images * pairs.num_anchors).scatter_(0, pairs.anchor, place)[pairs.anchor]
    stands = (stands_for == place).to(place.dtype)
    image = pairs.image
    counts = place.new_zeros(num_images).index_add_(0, image, stands)
    at_most = min(pairs.table_size[1] * pairs.table_size[2], pairs.num_anchors)
    count = int(counts.max()) if can_look(counts) else at_most
    # Less the columns of the images before, plus the room that they have.
    shift = torch.arange(num_images, device=place.device) * count - (counts.cumsum(0) - counts)
    rank = stands.cumsum(0).sub_(1)
    return Columns(rank[stands_for].add_(shift[image]), count)
