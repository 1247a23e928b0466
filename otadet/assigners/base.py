"""What every assigner shares: its call, and the ground truth of a batch as one padded table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otadet.assigners.ops.ignored import in_ignored_regions
from otadet.assigners.ops.inputs import are_valid, check_batch, check_objects, limited, on_host
from otadet.structures import BACKGROUND, IGNORED, Anchors, Assignment, GroundTruth, Predictions


@dataclass(frozen=True)
class PaddedTruth:
    """The ground truth of a batch, `G` being the largest number of boxes in one of its images."""

    boxes: Tensor
    """(N, G, 4) xyxy pixels, in `working_dtype`; zeros where there is no box."""
    labels: Tensor
    """(N, G) int64; zeros where there is no box."""
    valid: Tensor
    """(N, G) bool: false where the table is padding."""


class Assigner(ABC):
    """A rule that says which object each anchor answers for: a pure function of its three arguments."""

    @property
    def gives_scores(self) -> bool:
        """Whether an assignment of it may have scores; a rule of one's own is taken to, unless it says otherwise."""
        return True

    @torch.no_grad()
    def __call__(self, predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> Assignment:
        """Assign the anchors of a batch; one `GroundTruth` per image, on the predictions' device.

        Predictions may hold any numbers, and true boxes any finite ones: an answer is found. A background anchor whose
        point lies in an ignored region of its image becomes `IGNORED`. Raises `ValueError` where shapes, types or
        devices contradict each other; on a CPU also for labels outside of the classes, and for true boxes, ignored
        regions and anchors that are not finite. On an accelerator looking at them would force a sync; there such an
        object is nobody's and such a region holds no point.
        """
        check_batch(predictions, anchors, truths)
        num_images, num_anchors, num_classes = predictions.logits.shape
        if num_anchors == 0 or max((len(truth.boxes) for truth in truths), default=0) == 0:
            background = torch.full((num_images, num_anchors), BACKGROUND, device=predictions.boxes.device)
            assignment = Assignment(background, torch.zeros_like(background, dtype=torch.bool))
        else:
            assignment = self.assign(predictions, anchors, pad_truths(truths, num_classes))
        is_ignored = in_ignored_regions(anchors, truths)
        if is_ignored is None:
            return assignment
        is_ignored &= assignment.gt_index == BACKGROUND
        return replace(assignment, gt_index=assignment.gt_index.masked_fill(is_ignored, IGNORED))

    @abstractmethod
    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        """The rule itself, for a batch with at least one box."""


def working_dtype(device: torch.device) -> torch.dtype:
    """float64 wherever the device has it: the tables are small, and the plan is then the exact one."""
    return torch.float32 if device.type == "mps" else torch.float64


def pad_truths(truths: Sequence[GroundTruth], num_classes: int) -> PaddedTruth:
    """One table for the batch, by a number of operations that does not grow with it.

    What the host works out from the sizes goes to the device without waiting for it. On a CPU raises `ValueError` for
    boxes that are not finite and labels outside of the classes; elsewhere these are not valid.
    """
    device = truths[0].boxes.device
    boxes = torch.cat([*(truth.boxes for truth in truths), truths[0].boxes.new_zeros(1, 4)]).to(working_dtype(device))
    labels = torch.cat([*(truth.labels for truth in truths), truths[0].labels.new_zeros(1)]).long()
    check_objects(boxes[:-1], labels[:-1], num_classes, truths)
    sizes = torch.tensor([len(truth.boxes) for truth in truths])
    place = torch.arange(int(max(len(truth.boxes) for truth in truths)))
    valid = place < sizes[:, None]
    # The last row is the one of zeros.
    rows = torch.where(valid, (sizes.cumsum(0) - sizes)[:, None] + place, len(boxes) - 1)
    rows, valid = rows.to(device, non_blocking=True), valid.to(device, non_blocking=True)
    if not on_host(boxes):
        valid = valid & are_valid(boxes, labels, num_classes)[rows]
    return PaddedTruth(limited(boxes)[rows], labels.clamp(0, num_classes - 1)[rows], valid)
