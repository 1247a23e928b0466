"""What an assigner refuses, and how it says so; and what it takes all the same."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.assigners import OTAAssigner
from otadet.assigners.base import pad_truths
from otadet.assigners.ops.inputs import are_valid, check_batch
from otadet.structures import Anchors, GroundTruth, Predictions
from tests.helpers.counting import fake_problem
from tests.helpers.problems import random_problem


@pytest.fixture
def problem(generator: torch.Generator) -> tuple[Predictions, Anchors, list[GroundTruth]]:
    return random_problem(generator, 5, 3, 64, 64, num_images=2)  # 85 anchors and the levels of one point


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": torch.zeros(2, 3)}, r"logits are of shape \(2, 3\), not \(images, anchors, classes\)"),
        ({"logits": torch.zeros(2, 86, 0)}, "there is no class"),
        ({"boxes": torch.zeros(2, 85, 4)}, r"boxes are of shape \(2, 85, 4\), not \(2, 86, 4\)"),
        ({"quality": torch.zeros(2, 86, 1)}, r"quality are of shape \(2, 86, 1\), not \(2, 86\)"),
        ({"logits": torch.zeros(2, 86, 3).long()}, "logits are torch.int64, not floating point"),
        ({"boxes": torch.zeros(2, 86, 4, device="meta")}, "on cpu, but the predicted boxes on meta"),
    ],
    ids=str,
)
def test_predictions(changes: dict, message: str, problem) -> None:
    predictions, anchors, truths = problem
    with pytest.raises(ValueError, match=message):
        OTAAssigner()(replace(predictions, **changes), anchors, truths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": torch.zeros(85, 2)}, "86 predictions per image, but 85 anchors"),
        ({"boxes": torch.zeros(86, 2)}, r"anchors.boxes are torch.float32 of shape \(86, 2\)"),
        ({"strides": torch.ones(86, dtype=torch.bool)}, "anchors.strides are torch.bool"),
        ({"strides": torch.zeros(86)}, "strides go down to 0.0: they must be above 0"),
        ({"strides": torch.full((86,), math.nan)}, "anchors.strides are not all finite"),
        ({"points": torch.full((86, 2), math.inf)}, "anchors.points are not all finite"),
        ({"level_sizes": ((8, 8),)}, "make 64 anchors, but there are 86"),
        ({"level_sizes": ((86, 1), (0, 5))}, "at least 1 point"),
        ({"level_sizes": ((-43, -2),)}, "at least 1 point"),
    ],
    ids=str,
)
def test_anchors(changes: dict, message: str, problem) -> None:
    predictions, anchors, truths = problem
    with pytest.raises(ValueError, match=message):
        OTAAssigner()(predictions, replace(anchors, **changes), truths)


@pytest.mark.parametrize(
    ("boxes", "labels", "message"),
    [
        (torch.zeros(4), torch.zeros(1).long(), r"truths\[1\].boxes are torch.float32 of shape \(4,\)"),
        (torch.zeros(2, 5), torch.zeros(2).long(), r"of shape \(2, 5\), not numbers of shape \(boxes, 4\)"),
        (torch.zeros(2, 4), torch.zeros(3).long(), r"truths\[1\] has 2 boxes, but labels of shape \(3,\)"),
        (torch.zeros(2, 4), torch.zeros(2), r"truths\[1\].labels are torch.float32, not whole numbers"),
        (torch.zeros(2, 4), torch.tensor([0, 3]), r"truths\[1\].labels\[1\] is the label 3: .* 3 classes, 0 to 2"),
        (torch.zeros(2, 4), torch.tensor([0, -1]), r"truths\[1\].labels\[1\] is the label -1"),
        (
            torch.tensor([[0, 0, math.nan, 9]]),
            torch.zeros(1).long(),
            r"boxes\[0\] is \[0.0, 0.0, nan, 9.0\].*not finite",
        ),
        (torch.tensor([[0, 0, math.inf, 9]]), torch.zeros(1).long(), "which is not finite"),
    ],
    ids=["1-D", "5 columns", "3 labels", "float labels", "label 3", "label -1", "NaN", "inf"],
)
def test_ground_truth(boxes: torch.Tensor, labels: torch.Tensor, message: str, problem) -> None:
    predictions, anchors, truths = problem
    with pytest.raises(ValueError, match=message):
        OTAAssigner()(predictions, anchors, [truths[0], GroundTruth(boxes, labels)])


def test_the_number_of_images(problem) -> None:
    predictions, anchors, truths = problem
    with pytest.raises(ValueError, match="2 images of predictions, but 1 of ground truth"):
        OTAAssigner()(predictions, anchors, truths[:1])


def test_a_truth_on_another_device(problem) -> None:
    predictions, anchors, truths = problem
    with pytest.raises(ValueError, match=r"truths\[1\] are on meta, but the predicted boxes on cpu"):
        check_batch(predictions, anchors, [truths[0], truths[1].to("meta")])


def test_no_image_and_no_anchor_are_no_mistake() -> None:
    nothing = Anchors(torch.zeros(0, 2), torch.zeros(0, 4), torch.zeros(0), ())
    objects = [GroundTruth(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([0]))]
    without_anchors = OTAAssigner()(Predictions(torch.zeros(1, 0, 2), torch.zeros(1, 0, 4)), nothing, objects)
    assert without_anchors.gt_index.shape == without_anchors.ambiguous.shape == (1, 0)
    without_images = OTAAssigner()(Predictions(torch.zeros(0, 0, 2), torch.zeros(0, 0, 4)), nothing, [])
    assert without_images.gt_index.shape == (0, 0)


def test_labels_of_any_whole_type_and_boxes_of_any_precision(problem) -> None:
    predictions, anchors, truths = problem
    others = [GroundTruth(truth.boxes.double(), truth.labels.to(torch.int32)) for truth in truths]
    straight = OTAAssigner()(predictions, anchors, truths)
    assert torch.equal(OTAAssigner()(predictions, anchors, others).gt_index, straight.gt_index)


def test_one_anchor_that_is_not_a_number_does_not_spoil_the_others(problem) -> None:
    predictions, anchors, truths = problem
    gt_index = OTAAssigner()(predictions, anchors, truths).gt_index
    predictions.boxes[0, 85], predictions.logits[0, 85] = math.nan, -math.inf
    assert torch.equal(OTAAssigner()(predictions, anchors, truths).gt_index[0, :64], gt_index[0, :64])


def test_on_a_device_unsound_objects_are_nobodys() -> None:
    """Without looking at them: the tensors of the test have no values."""
    with FakeTensorMode():
        _, _, truths = fake_problem([3, 0, 7])
        padded = pad_truths(truths, 3)
    assert padded.valid.device.type == "cuda"
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, math.nan, 1], [0, 0, 1, math.inf], [0, 0, 1, 1], [0, 0, 1, 1]])
    assert are_valid(boxes, torch.tensor([2, 0, 0, 3, -1]), 3).tolist() == [True, False, False, False, False]
