"""What the losses share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otadet.assigners.ops.inputs import limited
from otadet.structures import Assignment, GroundTruth, Predictions


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
