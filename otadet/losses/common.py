"""What the losses share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from otadet.assigners.ops.inputs import limited
from otadet.distributed import mean_over_ranks
from otadet.structures import Anchors, Assignment, GroundTruth, Predictions


@dataclass(frozen=True)
class Sums:
    """What the loss of some images is made of. Those of the parts of a batch add up to that of the batch."""

    terms: dict[str, Tensor]
    """Name -> scalar, a sum over the images."""
    amounts: Tensor
    """(J,) float32 without a gradient: of what the terms are divided by, such as the number of positive anchors."""


class SummedLoss(nn.Module, ABC):
    """A loss of sums over the images of a batch, each divided by an amount of the batch.

    So the gradient of a batch can be computed in parts, whose sums add up, while a mean of the parts' losses would be
    another loss.
    """

    terms: tuple[str, ...]
    """The names of what it is the sum of."""

    @property
    @abstractmethod
    def has_one_divisor(self) -> bool:
        """Whether all terms are divided by the same number, whatever the images."""

    @abstractmethod
    def sums(self, predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> Sums:
        """Of these images. Raises `ValueError` as an `Assigner` does."""

    @abstractmethod
    def divisors(self, amounts: Tensor) -> Mapping[str, Tensor]:
        """Name of a term -> what it is divided by. amounts: (J,) of the whole batch, averaged over the ranks."""

    def forward(self, predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> dict[str, Tensor]:
        """Named scalars, whose sum is to be minimised. Raises `ValueError` as `sums` does."""
        sums = self.sums(predictions, anchors, truths)
        divisors = self.divisors(mean_over_ranks(sums.amounts))
        return {name: term / divisors[name] for name, term in sums.terms.items()}


def in_float32(predictions: Predictions) -> Predictions:
    """The predictions in the precision that losses are computed in."""
    quality = None if predictions.quality is None else predictions.quality.float()
    return Predictions(predictions.logits.float(), predictions.boxes.float(), quality)


def weighted(values: Tensor, assignment: Assignment) -> Tensor:
    """(N, A) values, each times the weight of its anchor."""
    return values if assignment.weight is None else values * assignment.weight.to(values.dtype)


def counts_of(positive: Tensor, assignment: Assignment) -> Tensor:
    """(N, A) float32 by which the `positive` (N, A) anchors count: their scores, or 1 without any; 0 at the others."""
    if assignment.score is None:
        return positive.to(torch.float32)
    return torch.where(positive, assignment.score.to(torch.float32), 0)


def targets_of(gt_index: Tensor, truths: Sequence[GroundTruth]) -> tuple[Tensor, Tensor]:
    """(N, A) -> labels (N, A) and boxes (N, A, 4) of each anchor's object; label 0, a box of 0 where none."""
    device = gt_index.device
    boxes = limited(torch.cat([torch.zeros(1, 4, device=device), *(truth.boxes.float() for truth in truths)]))
    labels = torch.cat([torch.zeros(1, dtype=torch.int64, device=device), *(truth.labels for truth in truths)])
    sizes = torch.tensor([len(truth.boxes) for truth in truths], dtype=torch.int64)
    first = (sizes.cumsum(0) - sizes + 1).to(device, non_blocking=True)
    row = torch.where(gt_index >= 0, gt_index + first[:, None], 0)
    return labels[row], boxes[row]
