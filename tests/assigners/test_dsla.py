"""RTMDet's dynamic soft labels by hand; against its tables it is compared in test_dense.py."""

from __future__ import annotations

import math

import pytest
import torch

from otadet.assigners import DSLAAssigner
from otadet.assigners.ops.costs import DistanceCost, QFLCost
from otadet.assigners.ops.values import PairValues
from otadet.structures import GroundTruth, Predictions
from tests.helpers.dense_assigners import DenseDSLA
from tests.helpers.problems import random_problem
from tests.helpers.small_grids import grid, logit, truth


def values(score: float, quality: float | None, iou: float) -> PairValues:
    anchors = grid((1, 4))
    box = torch.tensor([[0.0, 0.0, 16.0, 8.0]], dtype=torch.float64)  # centre 8, 4; point 3 is 2.5 strides away
    return PairValues(
        logit([[score]])[0].double(),
        None if quality is None else logit([[quality]])[0].double(),
        box,
        box,
        torch.tensor([iou], dtype=torch.float64),
        torch.tensor([7]),
        anchors,
    )


@pytest.mark.parametrize("quality", [None, 0.5])
def test_the_class_cost_is_least_where_the_score_is_the_iou(quality: float | None) -> None:
    score, iou = 0.6 * (quality or 1), 0.8
    entropy = -iou * math.log(score) - (1 - iou) * math.log(1 - score)
    pair = values(0.6, quality, iou)
    assert QFLCost().positive(pair).item() == pytest.approx(entropy * (iou - score) ** 2, rel=1e-5)
    negative = QFLCost().negative(pair.logits, pair.quality).item()
    assert negative == pytest.approx(-(score**2) * math.log(1 - score), rel=1e-5)
    assert QFLCost().positive(values(0.6, quality, score)).item() == pytest.approx(0, abs=1e-12)


def test_the_prior_grows_tenfold_with_each_stride() -> None:
    pair = values(0.5, None, 0.5)
    assert pair.distance.item() == pytest.approx(2.5)
    assert DistanceCost()(pair).item() == pytest.approx(10**-0.5)
    assert DistanceCost(base=2.0, radius=1.0)(pair).item() == pytest.approx(2**1.5)


def test_the_distance_is_finite_however_far() -> None:
    far = values(0.5, None, 0.5)
    far.gt_boxes.add_(1e9)
    assert DistanceCost()(far).isfinite().all()


def test_a_box_may_take_a_point_that_only_another_one_holds() -> None:
    """Two boxes side by side; point 1, in the first, predicts the second, and so do its own two points."""
    anchors = grid((1, 4))
    boxes = truth([0.0, 0.0, 16.0, 8.0], [16.0, 0.0, 32.0, 8.0])
    first, second = boxes.boxes.tolist()
    predictions = Predictions(torch.zeros(1, 4, 1), torch.tensor([[first, second, second, second]]))
    assignment = DSLAAssigner()(predictions, anchors, [boxes])
    assert assignment.gt_index[0].tolist() == [0, 1, 1, 1]
    assert assignment.score[0].tolist() == [1, 1, 1, 1]


def test_a_box_of_no_overlap_keeps_its_cheapest_anchor_with_a_score_of_0() -> None:
    anchors = grid((1, 3))
    away = [100.0, 100.0, 108.0, 108.0]
    predictions = Predictions(torch.zeros(1, 3, 1), torch.tensor([[away, away, away]]))
    assignment = DSLAAssigner()(predictions, anchors, [truth([0.0, 0.0, 24.0, 8.0])])
    assert assignment.gt_index[0].tolist() == [-1, 0, -1]
    assert assignment.score[0].tolist() == [0, 0, 0]


def test_points_in_no_box_are_nobodys() -> None:
    anchors = grid((2, 2))
    predictions = Predictions(torch.zeros(1, 4, 1), torch.tensor([[[9.0, 9.0, 11.0, 11.0]] * 4]))
    assert (DSLAAssigner()(predictions, anchors, [truth([9.0, 9.0, 11.0, 11.0])]).gt_index == -1).all()


@pytest.mark.parametrize(("base", "radius"), [(10.0, 3.0), (1.2, 0.0), (40.0, -2.0)])
@pytest.mark.parametrize("spread", [2.0, 12.0, 60.0])
def test_equals_its_tables_in_crowds(base: float, radius: float, spread: float) -> None:
    """Boxes of 5 to 60 pixels close to each other, predicted well, badly and hardly at all."""
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        predictions, anchors, _ = random_problem(generator, 3, 4)
        corner = 40 + 90 * torch.rand(40, 2, generator=generator)
        boxes = torch.cat((corner, corner + 5 + 55 * torch.rand(40, 2, generator=generator) ** 2), 1)
        objects = GroundTruth(boxes, torch.randint(4, (40,), generator=generator))
        nearest = torch.cdist(anchors.points, (boxes[:, :2] + boxes[:, 2:]) / 2).argmin(1)
        predicted = boxes[nearest] + spread * torch.randn(len(nearest), 4, generator=generator)
        problem = Predictions(predictions.logits, predicted[None], predictions.quality), anchors, [objects]
        found = DSLAAssigner(prior_cost=DistanceCost(base, radius))(*problem)
        expected = DenseDSLA(base, radius)(*problem)
        assert torch.equal(found.gt_index, expected.gt_index)
        assert torch.equal(found.ambiguous, expected.ambiguous)
        torch.testing.assert_close(found.score, expected.score)


def test_every_term_has_a_say(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 20, 4)
    default = DSLAAssigner()(predictions, anchors, truths).gt_index
    for settings in ({"prior_cost": None}, {"iou_weight": 0.1}, {"class_cost": QFLCost(0.5)}, {"top_q": 3}):
        assert not torch.equal(DSLAAssigner(**settings)(predictions, anchors, truths).gt_index, default), settings


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: DSLAAssigner(top_q=0), "top_q 0"),
        (lambda: DSLAAssigner(iou_weight=-1.0), "iou_weight -1"),
        (lambda: QFLCost(-1.0), "beta -1"),
        (lambda: DistanceCost(1.0), "base 1.0"),
        (lambda: DistanceCost(radius=math.nan), "radius nan"),
    ],
)
def test_impossible_settings(make, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()
