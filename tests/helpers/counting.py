"""Counting operations, and batches on a device that this machine need not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from otadet.assigners import Assigner
from otadet.models import AnchorGrid
from otadet.structures import Anchors, Assignment, GroundTruth, Predictions

STRIDES = (8, 16, 32, 64, 128)


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def count_operations(action: Callable[[], object]) -> int:
    """The number of operations that `action` dispatches."""
    with _Counter() as counter:
        action()
    return counter.count


def fake_problem(
    sizes: list[int],
    device: str = "cuda",
    height: int = 256,
    width: int = 320,
    num_classes: int = 3,
    dtype: torch.dtype = torch.float32,
    **shapes: Any,
) -> tuple[Predictions, Anchors, list[GroundTruth]]:
    """A batch whose images have `sizes` boxes; for use inside a `FakeTensorMode`. shapes: arguments of `AnchorGrid`."""
    with torch.device(device):
        features = [torch.empty(1, 1, -(-height // s), -(-width // s)) for s in STRIDES]
        anchors = AnchorGrid(STRIDES, **shapes)(features, (height, width))
        shape = (len(sizes), len(anchors.points))
        predictions = Predictions(
            torch.zeros(*shape, num_classes, dtype=dtype),
            torch.zeros(*shape, 4, dtype=dtype),
            torch.zeros(shape, dtype=dtype),
        )
        truths = [GroundTruth(torch.zeros(size, 4), torch.zeros(size, dtype=torch.int64)) for size in sizes]
    return predictions, anchors, truths


def assigned_on_fake_cuda(assigner: Assigner, dtype: torch.dtype) -> Assignment:
    """What a rule answers for fake tensors, which refuse to tell it any value; its shapes and devices are checked."""
    with FakeTensorMode():
        predictions, anchors, truths = fake_problem([3, 0, 7], dtype=dtype)
        assignment = assigner(predictions, anchors, truths)
    assert assignment.gt_index.device.type == assignment.ambiguous.device.type == "cuda"
    assert assignment.gt_index.shape == assignment.ambiguous.shape == predictions.boxes.shape[:2]
    assert (assignment.gt_index.dtype, assignment.ambiguous.dtype) == (torch.int64, torch.bool)
    return assignment
