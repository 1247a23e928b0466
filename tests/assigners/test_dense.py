"""The fast rules against the same rules written as `DenseAssigner`s, on whole batches; and the base class by hand."""

from __future__ import annotations

import pytest
import torch

from otadet.assigners import (
    Assigner,
    ATSSAssigner,
    DenseAssigner,
    DenseClaims,
    DSLAAssigner,
    FCOSAssigner,
    LLAAssigner,
    MaxIoUAssigner,
    PAAAssigner,
    SimOTAAssigner,
    TaskAlignedAssigner,
)
from otadet.assigners.ops.pair_costs import DETRCost, OTACost
from otadet.structures import BACKGROUND, IGNORED, Anchors, GroundTruth, Predictions
from tests.helpers.dense_assigners import (
    DenseATSS,
    DenseDSLA,
    DenseFCOS,
    DenseLLA,
    DenseMaxIoU,
    DensePAA,
    DenseSimOTA,
    DenseTAL,
    DenseYoloTAL,
    DenseYOLOX,
)
from tests.helpers.other_costs import detr_costs, rtmdet_costs, yolox_costs
from tests.helpers.problems import early_predictions, late_predictions, make_anchors
from tests.helpers.small_grids import grid, no_say, truth

RULES = [
    (TaskAlignedAssigner(), DenseTAL()),
    (TaskAlignedAssigner(alpha=0.5, beta=1.0, topk=5), DenseTAL(0.5, 1.0, 5)),
    (TaskAlignedAssigner.yolo(), DenseYoloTAL()),
    (FCOSAssigner(), DenseFCOS()),
    (FCOSAssigner(radius=None), DenseFCOS(None)),
    (MaxIoUAssigner(), DenseMaxIoU()),
    (MaxIoUAssigner(0.3, 0.2, low_quality=False), DenseMaxIoU(0.3, 0.2, False)),
    (ATSSAssigner(), DenseATSS()),
    (ATSSAssigner(topk=25), DenseATSS(25)),
    (SimOTAAssigner(), DenseSimOTA()),
    (SimOTAAssigner.yolox(), DenseYOLOX()),
    (SimOTAAssigner(cost=OTACost.yolox()), DenseSimOTA(yolox_costs)),
    (SimOTAAssigner(cost=OTACost.rtmdet()), DenseSimOTA(rtmdet_costs)),
    (SimOTAAssigner(cost=DETRCost()), DenseSimOTA(detr_costs)),
    (DSLAAssigner(), DenseDSLA()),
    (LLAAssigner(), DenseLLA()),
    (PAAAssigner(), DensePAA()),
    (PAAAssigner(topk=25), DensePAA(25)),
]


def objects(generator: torch.Generator, count: int) -> GroundTruth:
    """Boxes of 32 to 180 pixels inside 256 x 320, off the grid: each holds ten points, and no two points are equally
    near to its centre."""
    size = 32 + 148 * torch.rand(count, 2, generator=generator) ** 2
    corner = torch.rand(count, 2, generator=generator) * (torch.tensor([320.0, 256.0]) - size)
    return GroundTruth(torch.cat((corner, corner + size), 1), torch.randint(4, (count,), generator=generator))


@pytest.mark.parametrize(("fast", "dense"), RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("late", [True, False])
def test_a_fast_rule_equals_its_tables(fast: Assigner, dense: DenseAssigner, late: bool) -> None:
    ambiguous = 0
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        anchors, truths = make_anchors(256, 320), [objects(generator, count) for count in (25, 3, 9)]
        predictions = (
            late_predictions(generator, anchors, truths, 4) if late else early_predictions(generator, anchors, 3, 4)
        )
        truths[1] = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
        expected, found = dense(predictions, anchors, truths), fast(predictions, anchors, truths)
        assert torch.equal(found.gt_index, expected.gt_index)
        assert torch.equal(found.ambiguous, expected.ambiguous)
        assert (found.score is None) == (expected.score is None)
        if expected.score is not None:
            torch.testing.assert_close(found.score, expected.score)
        assert (found.gt_index[0] >= 0).any()
        ambiguous += int(found.ambiguous.sum())
    assert ambiguous > 0


class ByHand(DenseAssigner):
    """The table that it is given."""

    def __init__(self, value: list[list[float]], claimed: list[list[int]], ignored: list[int] | None = None) -> None:
        ignored_anchors = None if ignored is None else torch.tensor(ignored).bool()
        self.table = DenseClaims(torch.tensor(value), torch.tensor(claimed).bool(), ignored_anchors)

    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        assert (
            predictions.logits.dtype
            == predictions.boxes.dtype
            == truth.boxes.dtype
            == anchors.points.dtype
            == torch.float64
        )
        assert predictions.logits.shape == (len(anchors.points), 1)
        return self.table


def test_the_largest_claim_wins_and_ignored_is_what_nobody_wants() -> None:
    anchors = grid((1, 4))
    rule = ByHand([[1.0, 5, -2, 9], [2.0, 5, -1, 9]], [[1, 1, 1, 0], [1, 1, 0, 0]], ignored=[1, 0, 0, 1])
    assignment = rule(no_say(anchors), anchors, [truth([0.0, 0, 8, 8], [8.0, 0, 16, 8])])
    assert assignment.gt_index.tolist() == [[1, 0, 0, IGNORED]]
    assert assignment.ambiguous.tolist() == [[True, True, False, False]]


def test_without_ignored_the_rest_is_background() -> None:
    anchors = grid((1, 2))
    gt_index = ByHand([[1.0, 1.0]], [[0, 1]])(no_say(anchors), anchors, [truth([0.0, 0, 8, 8])]).gt_index
    assert gt_index.tolist() == [[BACKGROUND, 0]]


def test_a_rule_is_given_numbers(generator: torch.Generator) -> None:
    class Finite(DenseAssigner):
        def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
            assert predictions.logits.isfinite().all()
            assert predictions.boxes.isfinite().all()
            assert predictions.quality.isfinite().all()
            return DenseClaims(torch.zeros(1, len(anchors.points)), torch.ones(1, len(anchors.points)).bool())

    anchors = grid((2, 2))
    nan = torch.full((1, 4, 4), torch.nan)
    given = Predictions(torch.full((1, 4, 2), torch.inf), nan, nan[..., 0])
    assert (Finite()(given, anchors, [truth([0.0, 0, 8, 8])]).gt_index == 0).all()
    assert nan.isnan().all()
