"""Giving ambiguous candidates away by a rule before OTA."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.assigners import OTAAssigner
from otadet.assigners.ops.pairs import Pairs
from otadet.assigners.ops.ties import RULES, keep_smallest
from otadet.boxes import area, pairwise_iou
from otadet.structures import Anchors, GroundTruth, Predictions
from tests.helpers.counting import fake_problem
from tests.helpers.dense_ota import dense_ota, window_prior
from tests.helpers.problems import random_problem


def pairs_of(gt_row: list[int], anchor_row: list[int], valid: list[bool]) -> Pairs:
    """Two images of two boxes and three anchors."""
    table_index = torch.arange(len(gt_row))
    return Pairs(torch.tensor(gt_row), torch.tensor(anchor_row), torch.tensor(valid), table_index, (2, 2, 3), 3)


def test_an_anchor_keeps_the_pair_of_the_smallest_claim() -> None:
    # Anchor 1 is wanted by boxes 0 and 1, anchor 3 by boxes 2 and 3, which claim it equally.
    pairs = pairs_of([0, 0, 1, 2, 3], [0, 1, 1, 3, 3], [True] * 5)
    kept = keep_smallest(pairs, torch.tensor([9.0, 5.0, 4.0, 2.0, 2.0]))
    assert kept.gt_row.tolist() == [0, 1, 2]
    assert kept.anchor_row.tolist() == [0, 1, 3]
    assert kept.table_index.tolist() == [0, 2, 3]


def test_padding_claims_nothing() -> None:
    pairs = pairs_of([0, 1], [1, 1], [True, False])
    kept = keep_smallest(pairs, torch.tensor([5.0, -5.0]))
    assert (kept.gt_row.tolist(), kept.anchor_row.tolist()) == ([0], [1])


def three_points() -> tuple[Predictions, Anchors, GroundTruth]:
    """Points 8 px apart, all in three boxes around the middle one.

    The boxes' areas are 576, 400 and 484. The middle anchor predicts box 2 exactly, with the class of box 0.
    """
    points = torch.tensor([[4.0, 12.0], [12.0, 12.0], [20.0, 12.0]])
    anchors = Anchors(points, points.repeat(1, 2), torch.full((3,), 8.0), ((1, 3),))
    boxes = torch.tensor([[0.0, 0.0, 24.0, 24.0], [2.0, 2.0, 22.0, 22.0], [1.0, 1.0, 23.0, 23.0]])
    logits = torch.full((3, 3), -9.0)
    logits[1] = torch.tensor([9.0, 0.0, 0.0])
    return (
        Predictions(logits[None], boxes[2].expand(1, 3, 4)),
        anchors,
        GroundTruth(boxes, torch.tensor([0, 1, 2])),
    )


@pytest.mark.parametrize(("rule", "owner"), [("min_area", 1), ("max_iou", 2), ("min_loss", 0)])
def test_the_middle_anchor_goes_to_the_box_of_the_rule(rule: str, owner: int) -> None:
    predictions, anchors, truth = three_points()
    gt_index = OTAAssigner(ambiguity=rule, k=1)(predictions, anchors, [truth]).gt_index[0]
    assert gt_index[1] == owner
    # Areas and predicted boxes are the same everywhere, so these rules leave the other boxes nothing.
    assert rule == "min_loss" or gt_index.tolist() == [-1, owner, -1]


def owners_by_hand(rule: str, predictions: Predictions, truth: GroundTruth, prior: Tensor, cost: Tensor) -> Tensor:
    """(G, A) bool: the prior, less what the rule takes away."""
    overlap = pairwise_iou(truth.boxes.double(), predictions.boxes[0].double())
    claims = {
        "min_area": area(truth.boxes.double())[:, None].expand(prior.shape),
        "max_iou": -overlap,
        "min_loss": cost,
    }
    owner = torch.where(prior, claims[rule], torch.inf).argmin(0)
    return prior & (torch.arange(len(prior))[:, None] == owner)


@pytest.mark.parametrize("rule", RULES)
def test_equals_the_dense_problem_on_what_the_rule_leaves(rule: str, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 12, 5)
    prior = window_prior(anchors.points.double(), anchors.strides.double(), truths[0].boxes.double(), 2.5)
    cost = dense_ota(predictions, anchors, truths[0], iterations=1).cost[:-1]
    left = owners_by_hand(rule, predictions, truths[0], prior, cost)
    assert left.any(1).all()
    assert (prior.sum(0) > 1).any()
    expected = dense_ota(predictions, anchors, truths[0], prior=left)
    assert torch.equal(OTAAssigner(ambiguity=rule)(predictions, anchors, truths).gt_index[0], expected.gt_index)


@pytest.mark.parametrize("rule", RULES)
def test_a_box_that_loses_every_candidate_is_left_out(rule: str, generator: torch.Generator) -> None:
    predictions, anchors, (truth,) = random_problem(generator, 4, 3)
    twice = GroundTruth(truth.boxes.repeat(2, 1), truth.labels.repeat(2))
    gt_index = OTAAssigner(ambiguity=rule)(predictions, anchors, [twice]).gt_index
    assert set(gt_index.unique().tolist()) == {-1, 0, 1, 2, 3}


@pytest.mark.parametrize("rule", RULES)
def test_does_not_wait_for_the_device(rule: str) -> None:
    with FakeTensorMode():
        assignment = OTAAssigner(ambiguity=rule)(*fake_problem([3, 0, 7]))
    assert assignment.gt_index.device.type == "cuda"


def test_unknown_rule() -> None:
    with pytest.raises(ValueError, match="min_area"):
        OTAAssigner(ambiguity="max_area")
