"""Task-aligned assignment by hand and against the dense rule."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from otadet.assigners import TaskAlignedAssigner
from otadet.structures import GroundTruth, Predictions
from tests.helpers.dense_assigners import DenseTAL, DenseYoloTAL, tal_scores
from tests.helpers.problems import random_problem
from tests.helpers.small_grids import grid, logit, truth

BOXES = truth([0.0, 0.0, 32.0, 8.0], [0.0, 0.0, 16.0, 8.0], labels=[0, 1])
"""Around the points 0 to 3 and 0 to 1 of a row of four."""


def test_the_best_aligned_inside_and_max_iou_first() -> None:
    anchors = grid((1, 4))
    predicted = [[0.0, 0.0, 16.0, 8.0], [0.0, 0.0, 32.0, 8.0], [0.0, 0.0, 24.0, 8.0], [8.0, 0.0, 32.0, 8.0]]
    scores = [[0.2, 0.9], [0.9, 0.6], [0.5, 0.99], [0.8, 0.99]]
    # score * IoU: 0.1, 0.9, 0.375, 0.6 for the first box; 0.9, 0.3 for the second, with the other two outside.
    predictions = Predictions(logit([scores]), torch.tensor([predicted]))
    assignment = TaskAlignedAssigner(alpha=1, beta=1, topk=2)(predictions, anchors, [BOXES])
    assert assignment.gt_index[0].tolist() == [1, 0, -1, 0]
    assert assignment.ambiguous[0].tolist() == [False, True, False, False]


def test_an_anchor_that_predicts_no_overlap_is_not_taken() -> None:
    anchors = grid((1, 4))
    away, good = [100.0, 100.0, 108.0, 108.0], [0.0, 0.0, 30.0, 8.0]
    predictions = Predictions(torch.zeros(1, 4, 2), torch.tensor([[away, away, good, away]]))
    assert TaskAlignedAssigner()(predictions, anchors, [BOXES]).gt_index[0].tolist() == [-1, -1, 0, -1]


@pytest.mark.parametrize("settings", [{}, {"alpha": 0.5, "topk": 10}, {"beta": 1.0}], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_dense_rule(settings: dict, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    predictions, anchors, truths = random_problem(generator, 30, 4, 256, 320)
    assignment = TaskAlignedAssigner(**settings)(predictions, anchors, truths)
    expected = DenseTAL(**settings)(predictions, anchors, truths)
    assert torch.equal(assignment.gt_index, expected.gt_index)
    assert torch.equal(assignment.ambiguous, expected.ambiguous)
    assert expected.ambiguous.any()


def test_soft_scores_by_hand() -> None:
    """Alignments 0.1 and 0.9 * 1 of the first box, whose best IoU is 1; 0.45 alone of the second, of IoU 0.5."""
    anchors = grid((1, 4))
    boxes = truth([0.0, 0.0, 16.0, 8.0], [16.0, 0.0, 32.0, 8.0], labels=[0, 1])
    predicted = [[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 16.0, 8.0], [16.0, 0.0, 24.0, 8.0], [40.0, 0.0, 48.0, 8.0]]
    predictions = Predictions(logit([[[0.2, 0.5], [0.9, 0.5], [0.5, 0.9], [0.5, 0.5]]]), torch.tensor([predicted]))
    assignment = TaskAlignedAssigner(beta=1, soft=True)(predictions, anchors, [boxes])
    assert assignment.gt_index[0].tolist() == [0, 0, 1, -1]
    assert assignment.score[0].tolist() == pytest.approx([1 / 9, 1.0, 0.5, 0.0])
    assert TaskAlignedAssigner(beta=1)(predictions, anchors, [boxes]).score is None


@pytest.mark.parametrize("settings", [{}, {"alpha": 0.5, "topk": 10}, {"beta": 1.0}], ids=str)
def test_soft_scores_are_those_of_the_definition(settings: dict, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 30, 4, num_images=2)
    found = TaskAlignedAssigner(**settings, soft=True)(predictions, anchors, truths)
    assert torch.equal(found.gt_index, TaskAlignedAssigner(**settings)(predictions, anchors, truths).gt_index)
    expected = tal_scores(DenseTAL(**settings), predictions, truths, found.gt_index)
    torch.testing.assert_close(found.score.double(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tiny", [False, True])
def test_yolo_equals_the_dense_rule(tiny: bool, seed: int) -> None:
    """Boxes of all sizes; and crowds of tiny ones, narrow ones and low ones, many about the same points."""
    generator = torch.Generator().manual_seed(seed)
    predictions, anchors, (objects,) = random_problem(generator, 30, 4, 256, 320)
    if tiny:
        center = 40 + 160 * torch.rand(10, 2, generator=generator).repeat_interleave(3, 0)
        center += 6 * torch.rand(30, 2, generator=generator)
        size = 4 + 8 * torch.rand(30, 2, generator=generator)
        objects = GroundTruth(torch.cat((center - size / 2, center + size / 2), 1), objects.labels)
        # Each point follows its nearest object, off by a pixel or so.
        nearest = torch.cdist(anchors.points, center).argmin(1)
        boxes = objects.boxes[nearest] + torch.randn(len(nearest), 4, generator=generator)
        predictions = Predictions(predictions.logits, boxes[None])
    assignment = TaskAlignedAssigner.yolo()(predictions, anchors, [objects])
    expected = DenseYoloTAL()(predictions, anchors, [objects])
    assert torch.equal(assignment.gt_index, expected.gt_index)
    assert torch.equal(assignment.ambiguous, expected.ambiguous)
    assert (expected.gt_index >= 0).sum() > 30


def test_yolo_gives_a_tie_to_a_box_that_did_not_take_the_anchor() -> None:
    """Three boxes on one row of points; the third has better anchors than the one that the other two take."""
    anchors = grid((1, 4), (1, 2))
    objects = truth([0.0, 0.0, 32.0, 8.0], [0.0, 0.0, 32.0, 7.9], [0.0, 0.0, 32.0, 8.5], labels=[0, 0, 1])
    exact = objects.boxes[2].tolist()
    away = [500.0, 500.0, 508.0, 508.0]
    # Of class 0 only the first point has a score; of class 1 the second is far better.
    predictions = Predictions(
        logit([[[0.9, 0.1], [1e-9, 0.9], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]]),
        torch.tensor([[exact, exact, away, away, away, away]]),
    )
    rule = replace(TaskAlignedAssigner.yolo(), topk=1)
    assignment = rule(predictions, anchors, [objects])
    assert assignment.gt_index[0].tolist() == [2, 2, -1, -1, -1, -1]
    assert assignment.ambiguous[0].tolist() == [True, False, False, False, False, False]
    assert replace(rule, among_holders=False)(predictions, anchors, [objects]).gt_index[0, 0] == 0


@pytest.mark.parametrize(("side", "holds"), [(7.99, True), (8.0, False)])
def test_yolo_enlarges_sides_shorter_than_the_finest_stride(side: float, holds: bool) -> None:
    """A box between the points at 4 and 12: counted 16 px wide it reaches both, 8 px wide it only touches them."""
    anchors = grid((1, 2), (1, 1))
    box = [8 - side / 2, 0.0, 8 + side / 2, 8.0]
    predictions = Predictions(torch.zeros(1, 3, 1), torch.tensor([[box, box, box]]))
    gt_index = TaskAlignedAssigner.yolo()(predictions, anchors, [truth(box)]).gt_index[0]
    assert gt_index[:2].tolist() == ([0, 0] if holds else [-1, -1])


def test_yolo_with_one_level_enlarges_to_its_stride() -> None:
    anchors = grid((1, 3))
    box = [9.0, 0.0, 13.0, 8.0]  # about 11: 7 to 15 with a side of 8, 3 to 19 with one of 16
    predictions = Predictions(torch.zeros(1, 3, 1), torch.tensor([[box, box, box]]))
    assert TaskAlignedAssigner.yolo()(predictions, anchors, [truth(box)]).gt_index[0].tolist() == [-1, 0, -1]


def test_yolo_reaches_points_that_lie_inside_by_less_than_the_margin_of_tood() -> None:
    anchors = grid((1, 2), (1, 1))
    box = [4 - 0.005, 0.0, 14.0, 8.0]
    predictions = Predictions(torch.zeros(1, 3, 1), torch.tensor([[box, box, box]]))
    assert TaskAlignedAssigner.yolo()(predictions, anchors, [truth(box)]).gt_index[0, 0] == 0
    assert TaskAlignedAssigner()(predictions, anchors, [truth(box)]).gt_index[0, 0] == -1


@pytest.mark.parametrize(
    "settings", [{"topk": 0}, {"alpha": -1.0}, {"beta": -1.0}, {"beta": math.nan}, {"margin": -0.1}], ids=str
)
def test_impossible_settings(settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        TaskAlignedAssigner(**settings)
