"""ATSS by hand and against the dense rule."""

from __future__ import annotations

import pytest
import torch

from otadet.assigners import ATSSAssigner
from tests.helpers.dense_assigners import DenseATSS
from tests.helpers.problems import random_problem
from tests.helpers.small_grids import grid, no_say, truth


def test_mean_plus_std_of_the_nearest_and_max_iou_first() -> None:
    anchors = grid((1, 4))
    # IoUs of anchors 0, 1, 2: 10/22, 14/18, 6/26, threshold 0.763; 1/3, 1, 1/3, threshold 0.940.
    boxes = truth([2.0, -4.0, 18.0, 12.0], [4.0, -4.0, 20.0, 12.0])
    assignment = ATSSAssigner(topk=3)(no_say(anchors), anchors, [boxes])
    assert assignment.gt_index[0].tolist() == [-1, 1, -1, -1]
    assert assignment.ambiguous[0].tolist() == [False, True, False, False]


def test_a_positive_lies_in_the_box() -> None:
    anchors = grid((1, 4))
    # Both stand out from their candidates at anchor 1, whose point (12, 4) is above the second box.
    inside, outside = [4.0, -3.0, 20.0, 12.0], [4.0, 5.0, 20.0, 12.0]
    gt_index = [ATSSAssigner(topk=3)(no_say(anchors), anchors, [truth(box)]).gt_index[0] for box in (inside, outside)]
    assert gt_index[0].tolist() == [-1, 0, -1, -1]
    assert gt_index[1].tolist() == [-1, -1, -1, -1]


def test_a_single_candidate_is_positive() -> None:
    anchors = grid((1, 1))
    assert ATSSAssigner()(no_say(anchors), anchors, [truth([0.0, 0.0, 8.0, 8.0])]).gt_index.tolist() == [[0]]


@pytest.mark.parametrize("topk", [9, 10, 25, 49])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_dense_rule(topk: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    predictions, anchors, truths = random_problem(generator, 30, 2, 256, 320)
    # Centres off the grid, so that no two points are equally near.
    truths[0].boxes[:] += torch.rand(30, 4, generator=generator)
    assignment = ATSSAssigner(topk)(predictions, anchors, truths)
    expected = DenseATSS(topk)(predictions, anchors, truths)
    assert torch.equal(assignment.gt_index, expected.gt_index)
    assert torch.equal(assignment.ambiguous, expected.ambiguous)
    assert expected.ambiguous.any()


def test_impossible_topk() -> None:
    with pytest.raises(ValueError, match="top"):
        ATSSAssigner(topk=0)
