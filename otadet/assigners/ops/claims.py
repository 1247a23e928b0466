"""Hand-crafted tie rules: of the boxes that claim an anchor, the one with the largest value gets it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops.pairs import Pairs, write_first
from otadet.structures import BACKGROUND, Assignment


@dataclass
class Claims:
    """Who has the best claim on each anchor of a batch, gathered from one or several lists of pairs.

    The value decides: the IoU for the rule Max IoU, the negative area for Min Area. Equal values go to the first box.
    An addition costs what its pairs cost, whatever the number of anchors.
    """

    value: Tensor
    """(N, A) the largest value so far, -inf at an anchor that nobody claims."""
    winner: Tensor
    """(N, A) int64 row of the image's boxes, or `BACKGROUND` where nobody claims the anchor."""
    count: Tensor
    """(N, A) int32 the number of boxes that claim the anchor."""
    boxes_per_image: int
    """G."""

    @classmethod
    def none(cls, truth: PaddedTruth, num_anchors: int) -> Claims:
        """No claim yet on the `num_anchors` anchors of each image."""
        size = (len(truth.boxes), num_anchors)
        winner = truth.labels.new_full(size, BACKGROUND)
        count = torch.zeros(size, dtype=torch.int32, device=winner.device)
        return cls(truth.boxes.new_full(size, -torch.inf), winner, count, truth.boxes.shape[1])

    def add(self, pairs: Pairs, box: Tensor, value: Tensor, claimed: Tensor) -> None:
        """The pairs (P,) that are `claimed`, with the rows `image * G + g` of their boxes and their values."""
        claimed = claimed & pairs.real
        value = torch.where(claimed, value, -torch.inf)
        largest, winner, count = self.value.view(-1), self.winner.view(-1), self.count.view(-1)
        before = largest.index_select(0, pairs.anchor)
        largest.scatter_reduce_(0, pairs.anchor, value, "amax")
        now = largest.index_select(0, pairs.anchor)
        nobody = self.boxes_per_image
        box = torch.where(claimed & (value == now), box.remainder(nobody), nobody)
        held = winner.index_select(0, pairs.anchor)
        held = torch.where((now > before) | (held == BACKGROUND), nobody, held)
        write_first(winner, pairs.anchor, torch.minimum(box, held), nobody)
        count.index_add_(0, pairs.anchor, claimed.to(count.dtype))

    def settled_by(self, held: Claims) -> Assignment:
        """Each anchor to its winner, or, if several boxes claim it, to that of `held`, where others have a say too."""
        is_ambiguous = self.count > 1
        return Assignment(torch.where(is_ambiguous, held.winner, self.winner), is_ambiguous)

    def assignment(self) -> Assignment:
        """Each anchor to its winner; ambiguous where two or more boxes claim it."""
        return Assignment(self.winner, self.count > 1)
