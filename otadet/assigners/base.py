"""What every assigner shares: its call, and the ground truth of a batch as one padded table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.structures import BACKGROUND, Anchors, Assignment, GroundTruth, Predictions


@dataclass(frozen=True)
class PaddedTruth:
    """The ground truth of a batch, `G` being the largest number of boxes in one of its images."""

    boxes: Tensor
    """(N, G, 4) xyxy pixels, in the assigner's precision; zeros where there is no box."""
    labels: Tensor
    """(N, G) int64; zeros where there is no box."""
    present: Tensor
    """(N, G) bool."""


class Assigner(ABC):
    """A rule that says which object each anchor answers for: a pure function of its three arguments."""

    @torch.no_grad()
    def __call__(self, predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> Assignment:
        """Assign the anchors of a batch; one `GroundTruth` an image, on the predictions' device.

        Raises `ValueError` where the shapes contradict each other, and on a CPU for a label that is no class.
        """
        num_images, num_anchors = predictions.boxes.shape[:2]
        _check_shapes(predictions, anchors, truths)
        if max((len(truth.boxes) for truth in truths), default=0) == 0:
            background = torch.full((num_images, num_anchors), BACKGROUND, device=predictions.boxes.device)
            return Assignment(background, torch.zeros_like(background, dtype=torch.bool))
        truth = pad_truths(truths, predictions.boxes.device)
        if can_look(truth.labels):
            _check_labels(truth.labels, predictions.logits.shape[-1])
        return self.assign(predictions, anchors, truth)

    @abstractmethod
    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        """The rule itself, for a batch with at least one box."""


def _check_shapes(predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> None:
    num_images, num_anchors = predictions.boxes.shape[:2]
    if len(truths) != num_images:
        raise ValueError(f"{num_images} images of predictions, but {len(truths)} of ground truth")
    if len(anchors.points) != num_anchors:
        raise ValueError(f"{num_anchors} predictions an image, but {len(anchors.points)} anchors")
    covered = sum(height * width for height, width in anchors.level_sizes)
    if covered != num_anchors:
        raise ValueError(f"level_sizes {anchors.level_sizes} make {covered} anchors, but there are {num_anchors}")


def _check_labels(labels: Tensor, num_classes: int) -> None:
    lowest, highest = (int(label) for label in labels.aminmax())
    if lowest < 0 or highest >= num_classes:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"label {wrong}: the predictions have {num_classes} classes, 0 to {num_classes - 1}")


def precision(device: torch.device) -> torch.dtype:
    """float64 wherever the device has it: the tables are small, and the plan is then the exact one."""
    return torch.float32 if device.type == "mps" else torch.float64


def pad_truths(truths: Sequence[GroundTruth], device: torch.device) -> PaddedTruth:
    """One table for the batch, by a number of operations that does not grow with it.

    What the host works out from the sizes goes to the device without waiting for it.
    """
    dtype = precision(device)
    boxes = torch.cat([*(truth.boxes for truth in truths), truths[0].boxes.new_zeros(1, 4)]).to(device, dtype)
    labels = torch.cat([*(truth.labels for truth in truths), truths[0].labels.new_zeros(1)]).to(device)
    sizes = torch.tensor([len(truth.boxes) for truth in truths])
    slots = torch.arange(int(max(len(truth.boxes) for truth in truths)))
    present = slots < sizes[:, None]
    rows = torch.where(present, (sizes.cumsum(0) - sizes)[:, None] + slots, len(boxes) - 1)
    rows, present = rows.to(device, non_blocking=True), present.to(device, non_blocking=True)
    return PaddedTruth(boxes[rows], labels[rows], present)


def can_look(tensor: Tensor) -> bool:
    """Whether the values of a tensor may decide a shape: on a CPU that costs nothing, elsewhere a wait."""
    return tensor.device.type == "cpu"
