"""The Hungarian matching by hand and against the dense problem."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from otadet.assigners import HungarianAssigner
from otadet.assigners.hungarian import match
from otadet.assigners.ops.pair_costs import OTACost
from otadet.errors import UserError
from otadet.structures import Predictions
from tests.helpers.dense_ota import ordered
from tests.helpers.detr_cost import detr_cost, least_total
from tests.helpers.problems import random_problem
from tests.helpers.small_grids import grid, truth


def test_the_least_total_is_not_each_box_its_cheapest() -> None:
    cost, anchor = np.array([[1.0, 2.0], [1.0, 5.0]]), np.array([[7, 4], [7, 9]])
    box, place = match(cost, anchor)
    assert anchor[box, place].tolist() == [4, 7]


def test_one_anchor_a_box_by_hand() -> None:
    anchors = grid((1, 4))
    boxes = truth([0.0, 0.0, 16.0, 8.0], [0.0, 0.0, 14.0, 8.0])
    # Both boxes like anchor 1 best; only the second has a good other choice.
    predicted = torch.tensor([[[0.0, 0.0, 4.0, 8.0], [0.0, 0.0, 15.0, 8.0], [0.0, 0.0, 12.0, 8.0], [30.0, 0, 32, 8]]])
    for cost in (HungarianAssigner(), HungarianAssigner(OTACost())):
        assignment = cost(Predictions(torch.zeros(1, 4, 1), predicted), anchors, [boxes])
        assert assignment.gt_index[0].tolist() == [-1, 0, 1, -1]
        assert assignment.ambiguous[0].tolist() == [False, True, False, False]


@pytest.mark.parametrize("num_boxes", [1, 30, 150])
def test_has_the_least_total_cost(num_boxes: int, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, num_boxes, 4, 256, 320)
    predictions = Predictions(predictions.logits, ordered(predictions.boxes))
    gt_index = HungarianAssigner()(predictions, anchors, truths).gt_index[0]
    anchor = (gt_index >= 0).nonzero().flatten()
    assert gt_index[anchor].sort().values.tolist() == list(range(num_boxes))
    cost = detr_cost(predictions, truths[0], 320, 256)
    torch.testing.assert_close(
        float(cost[gt_index[anchor], anchor].sum()), least_total(cost), rtol=1e-5, atol=1e-4 * num_boxes
    )


def test_more_boxes_than_anchors(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 200, 3, 64, 64)
    gt_index = HungarianAssigner()(predictions, anchors, truths).gt_index[0]
    assert len(anchors.points) < 200
    assert gt_index.unique().numel() == len(anchors.points)


def test_a_prediction_that_is_not_a_number_is_not_chosen(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 10, 3)
    predictions.boxes[0, ::2] = torch.nan
    gt_index = HungarianAssigner()(predictions, anchors, truths).gt_index[0]
    assert (gt_index >= 0).sum() == 10
    assert (gt_index[::2] == -1).all()


def test_names_the_extra_where_scipy_is_missing(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(UserError, match=r"pip install otadet\[matching\]"):
        HungarianAssigner()(*random_problem(generator, 2, 3))
