"""LLA against a plain dense implementation, and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from otadet.assigners import LLAAssigner
from otadet.structures import BACKGROUND, Anchors, GroundTruth, Predictions
from tests.helpers.dense_ota import focal, ordered, window_prior
from tests.helpers.problems import random_problem


def plain_lla(predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> tuple[Tensor, Tensor]:
    """(A,) gt_index and ambiguous, from the dense (G, A) cost."""
    logits, gt = predictions.logits[0].double(), truth.boxes.double()
    class_cost = torch.stack([focal(logits, F.one_hot(y, logits.shape[1]).double()).sum(1) for y in truth.labels])
    overlap = box_iou(gt, ordered(predictions.boxes[0].double())).nan_to_num()
    cost = class_cost - 1.5 * overlap.clamp(min=torch.finfo(torch.float32).eps).log()
    cost += 1e3 * ~inside(anchors, truth)
    taken = torch.zeros_like(cost, dtype=torch.bool).scatter_(1, cost.topk(10, largest=False).indices, True)
    winner = torch.where(taken.sum(0) > 1, cost.argmin(0), taken.int().argmax(0))
    return torch.where(taken.any(0), winner, BACKGROUND), taken.sum(0) > 1


def inside(anchors: Anchors, truth: GroundTruth) -> Tensor:
    return window_prior(anchors.points.double(), anchors.strides.double(), truth.boxes.double(), 1e6)


def only_boxes_with_ten_points(anchors: Anchors, truth: GroundTruth) -> GroundTruth:
    enough = inside(anchors, truth).sum(1) >= 10
    return GroundTruth(truth.boxes[enough], truth.labels[enough])


@pytest.mark.parametrize("late", [True, False])
def test_equals_a_plain_implementation(late: bool, generator: torch.Generator) -> None:
    ambiguous = 0
    for num_boxes in (2, 8, 20, 40):
        predictions, anchors, truths = random_problem(generator, num_boxes, 5, late=late)
        truth = only_boxes_with_ten_points(anchors, truths[0])
        gt_index, unsure = plain_lla(predictions, anchors, truth)
        assignment = LLAAssigner()(predictions, anchors, [truth])
        assert torch.equal(assignment.gt_index[0], gt_index)
        assert torch.equal(assignment.ambiguous[0], unsure)
        ambiguous += int(unsure.sum())
    assert ambiguous > 0


def test_a_small_box_takes_its_points_and_fills_up_outside(generator: torch.Generator) -> None:
    predictions, anchors, _ = random_problem(generator, 1, 3, late=False)
    truth = GroundTruth(torch.tensor([[93.0, 93.0, 107.0, 107.0]]), torch.tensor([2]))
    assert 0 < inside(anchors, truth).sum() < 10
    gt_index = LLAAssigner()(predictions, anchors, [truth]).gt_index
    assert (gt_index == 0).sum() == 10
    assert (gt_index[inside(anchors, truth)] == 0).all()


def test_a_box_without_a_point_inside_gets_the_nearest(generator: torch.Generator) -> None:
    predictions, anchors, _ = random_problem(generator, 1, 3, late=False)
    truth = GroundTruth(torch.tensor([[101.0, 101.0, 102.0, 102.0]]), torch.tensor([2]))
    gt_index = LLAAssigner(topk=3)(predictions, anchors, [truth]).gt_index[0]
    assert (gt_index == 0).sum() == 3
    distance = (anchors.points - 101.5).abs().amax(1) / anchors.strides
    assert (distance[gt_index == 0] <= 3).all()


def test_an_anchor_taken_twice_goes_to_the_box_of_least_loss() -> None:
    points = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])
    anchors = Anchors(points, points.repeat(1, 2), torch.full((3,), 8.0), ((1, 3),))
    truth = GroundTruth(torch.tensor([[0.0, 0.0, 24.0, 8.0], [2.0, 0.0, 22.0, 8.0]]), torch.tensor([0, 1]))
    logits = torch.tensor([[4.0, -4.0], [2.0, 2.0], [-4.0, 4.0]])
    predictions = Predictions(logits[None], truth.boxes[torch.tensor([0, 1, 1])][None])
    assignment = LLAAssigner(topk=2)(predictions, anchors, [truth])
    # Both take the middle one; its box is predicted to be box 1.
    assert assignment.gt_index.tolist() == [[0, 1, 1]]
    assert assignment.ambiguous.tolist() == [[False, True, False]]


def test_a_point_inside_a_box_does_not_go_to_one_that_fills_up_outside() -> None:
    points = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])
    anchors = Anchors(points, points.repeat(1, 2), torch.full((3,), 8.0), ((1, 3),))
    truth = GroundTruth(torch.tensor([[0.0, 0.0, 16.0, 8.0], [16.0, 0.0, 24.0, 8.0]]), torch.tensor([0, 1]))
    # The middle one is predicted to be box 1, which has one point inside and lacks another.
    logits = torch.tensor([[4.0, -4.0], [-4.0, 4.0], [-4.0, 4.0]])
    predictions = Predictions(logits[None], truth.boxes[torch.tensor([0, 1, 1])][None])
    assignment = LLAAssigner(topk=2)(predictions, anchors, [truth])
    assert assignment.gt_index.tolist() == [[0, 0, 1]]
    assert assignment.ambiguous.tolist() == [[False, True, False]]


def test_impossible_settings() -> None:
    with pytest.raises(ValueError, match="top"):
        LLAAssigner(topk=0)
