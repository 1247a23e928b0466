"""The anchors that some box may have, renumbered, so that later work does not depend on the size of the image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otadet.assigners.ops.inputs import on_host
from otadet.assigners.ops.pairs import Pairs


@dataclass(frozen=True)
class UsedAnchors:
    """The anchors that are in some pair, numbered image by image."""

    index: Tensor
    """(P,) int64 number of each pair's anchor, `image * U + used`."""
    count: int
    """U, numbers per image; some may be unused."""

    def anchor_rows(self, pairs: Pairs) -> Tensor:
        """(N * U,) the row of each number's anchor; 0 for a number that is unused."""
        rows = pairs.anchor_row.new_zeros(pairs.table_size[0] * self.count)
        # Padding has the number of a used anchor: it must not overwrite that anchor's row.
        return rows.scatter_reduce_(0, self.index, pairs.anchor_row * pairs.valid, "amax")

    def renumbered(self, pairs: Pairs) -> Pairs:
        """The same pairs, as if the used anchors were all that there are."""
        return replace(pairs, anchor_row=self.index, num_anchors=self.count)


def number_used_anchors(pairs: Pairs) -> UsedAnchors:
    """Number the anchors that have a pair, in each image from 0.

    Four pairs of the anchors 7, 3, 7, 9 of one image: the pairs 1, 2 and 3 stand for their anchors, their ranks are 0,
    1 and 2, and the numbers of the pairs are 1, 0, 1, 2. Which of an anchor's pairs stands for it is left to chance,
    and with it the order of the numbers.
    """
    num_images = pairs.table_size[0]
    place = torch.arange(len(pairs.anchor_row), device=pairs.anchor_row.device)
    # Representatives: all pairs of an anchor write to its place, one of them last. What nobody wrote is never read.
    last_writer = place.new_empty(num_images * pairs.num_anchors).scatter_(0, pairs.anchor_row, place)
    representative = last_writer[pairs.anchor_row]
    represents = (representative == place).to(place.dtype)
    # Their ranks, over all images.
    rank = represents.cumsum(0).sub_(1)
    # The room of each image: less the representatives of the images before, plus U for each of those.
    image = pairs.image
    counts = place.new_zeros(num_images).index_add_(0, image, represents)
    at_most = min(pairs.table_size[1] * pairs.table_size[2] or len(place), pairs.num_anchors)
    count = int(counts.max()) if on_host(counts) else at_most
    shift = torch.arange(num_images, device=place.device) * count - (counts.cumsum(0) - counts)
    return UsedAnchors(rank[representative].add_(shift[image]), count)
