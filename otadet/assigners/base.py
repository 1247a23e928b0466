"""What every assigner shares: its call, and the ground truth of a batch as one padded table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.ops.inputs import are_sound, can_look, check_batch, check_objects, limited
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

        Predictions may hold any numbers, and true boxes any finite ones: an answer is found. Raises `ValueError` where
        shapes, types or devices contradict each other; on a CPU also for labels that are no class, and for true boxes
        and anchors that are not finite. Elsewhere to look at them would be a wait, and such an object is nobody's.
        """
        check_batch(predictions, anchors, truths)
        num_images, num_anchors, num_classes = predictions.logits.shape
        if num_anchors == 0 or max((len(truth.boxes) for truth in truths), default=0) == 0:
            background = torch.full((num_images, num_anchors), BACKGROUND, device=predictions.boxes.device)
            return Assignment(background, torch.zeros_like(background, dtype=torch.bool))
        return self.assign(predictions, anchors, pad_truths(truths, num_classes))

    @abstractmethod
    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        """The rule itself, for a batch with at least one box."""


def precision(device: torch.device) -> torch.dtype:
    """float64 wherever the device has it: the tables are small, and the plan is then the exact one."""
    return torch.float32 if device.type == "mps" else torch.float64


def pad_truths(truths: Sequence[GroundTruth], num_classes: int) -> PaddedTruth:
    """One table for the batch, by a number of operations that does not grow with it.

    What the host works out from the sizes goes to the device without waiting for it. On a CPU raises `ValueError` for
    boxes that are not finite and labels that are no class; elsewhere these are not present.
    """
    device = truths[0].boxes.device
    boxes = torch.cat([*(truth.boxes for truth in truths), truths[0].boxes.new_zeros(1, 4)]).to(precision(device))
    labels = torch.cat([*(truth.labels for truth in truths), truths[0].labels.new_zeros(1)]).long()
    check_objects(boxes[:-1], labels[:-1], num_classes, truths)
    sizes = torch.tensor([len(truth.boxes) for truth in truths])
    slots = torch.arange(int(max(len(truth.boxes) for truth in truths)))
    present = slots < sizes[:, None]
    rows = torch.where(present, (sizes.cumsum(0) - sizes)[:, None] + slots, len(boxes) - 1)
    rows, present = rows.to(device, non_blocking=True), present.to(device, non_blocking=True)
    if not can_look(boxes):
        present = present & are_sound(boxes, labels, num_classes)[rows]
    return PaddedTruth(limited(boxes)[rows], labels.clamp(0, num_classes - 1)[rows], present)
