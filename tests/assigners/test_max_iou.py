"""Max IoU by hand and against the dense rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from otadet.assigners import MaxIoUAssigner
from otadet.structures import BACKGROUND, IGNORED, GroundTruth, Predictions
from tests.helpers.dense_assigners import DenseMaxIoU
from tests.helpers.problems import random_problem
from tests.helpers.small_grids import grid, no_say, truth

ON_ANCHOR_1 = [4.0, -4.0, 20.0, 12.0]
"""An IoU of 1 with it, and of 1/3 with anchors 0 and 2 of a row of 16-pixel squares, 8 pixels apart."""
BESIDE_ANCHOR_3 = [26.0, -4.0, 42.0, 12.0]
"""An IoU of 10/22 with it, and of 1/15 with anchor 2."""


@pytest.mark.parametrize(("low_quality", "last"), [(True, 1), (False, IGNORED)])
def test_thresholds_and_low_quality_matches(low_quality: bool, last: int) -> None:
    anchors = grid((1, 4))
    assignment = MaxIoUAssigner(low_quality=low_quality)(
        no_say(anchors), anchors, [truth(ON_ANCHOR_1, BESIDE_ANCHOR_3)]
    )
    assert assignment.gt_index[0].tolist() == [BACKGROUND, 0, BACKGROUND, last]
    assert not assignment.ambiguous.any()


@pytest.mark.parametrize(
    ("negative", "positive", "expected"),
    [(0.5, 0.75, IGNORED), (0.25, 0.5, 0), (0.5, 0.5, 0), (0.625, 0.75, BACKGROUND)],
)
def test_an_iou_equal_to_a_threshold_reaches_it(negative: float, positive: float, expected: int) -> None:
    anchors = grid((1, 4))
    half_of_anchors_0_and_1 = [4.0, -4.0, 12.0, 12.0]
    assigner = MaxIoUAssigner(positive, negative, low_quality=False)
    gt_index = assigner(no_say(anchors), anchors, [truth(half_of_anchors_0_and_1)]).gt_index
    assert gt_index[0].tolist() == [expected, expected, BACKGROUND, BACKGROUND]


def test_an_anchor_goes_to_the_box_that_it_overlaps_most() -> None:
    anchors = grid((1, 4))
    narrower = [5.0, -4.0, 20.0, 12.0]
    assignment = MaxIoUAssigner()(no_say(anchors), anchors, [truth(narrower, ON_ANCHOR_1)])
    assert assignment.gt_index[0].tolist() == [BACKGROUND, 1, BACKGROUND, BACKGROUND]
    assert assignment.ambiguous[0].tolist() == [False, True, False, False]


def test_a_box_that_no_anchor_overlaps_changes_nothing() -> None:
    anchors = grid((1, 4))
    far, empty = [100.0, 100.0, 110.0, 110.0], [4.0, 4.0, 4.0, 4.0]
    gt_index = MaxIoUAssigner()(no_say(anchors), anchors, [truth(far, ON_ANCHOR_1, empty)]).gt_index[0]
    assert gt_index.tolist() == [BACKGROUND, 1, BACKGROUND, BACKGROUND]


@pytest.mark.parametrize("low_quality", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_dense_rule(low_quality: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    predictions, anchors, truths = random_problem(generator, 40, 2, 256, 320)
    assignment = MaxIoUAssigner(low_quality=low_quality)(predictions, anchors, truths)
    expected = DenseMaxIoU(low_quality=low_quality)(predictions, anchors, truths)
    assert torch.equal(assignment.gt_index, expected.gt_index)
    assert torch.equal(assignment.ambiguous, expected.ambiguous)
    assert (expected.gt_index == IGNORED).any()


def any_anchor_boxes(generator: torch.Generator, points: Tensor) -> Tensor:
    """Of any shape, some far from their point."""
    sides = torch.exp(6 * torch.rand(len(points), 4, generator=generator))
    shift = 20 * torch.randn(len(points), 1, generator=generator)
    return torch.cat((points - sides[:, :2] + shift, points + sides[:, 2:] + shift), 1)


@pytest.mark.parametrize("low_quality", [True, False])
@pytest.mark.parametrize("squares", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_no_pair_that_has_a_say_is_spared(low_quality: bool, squares: bool, seed: int) -> None:
    """Objects of all sizes, in the image and outside, beside each other: tiny ones take anchors of an IoU near 0."""
    generator = torch.Generator().manual_seed(seed)
    predictions, anchors, _ = random_problem(generator, 0, 2, 256, 320)
    if not squares:
        anchors = replace(anchors, boxes=any_anchor_boxes(generator, anchors.points))
    center = torch.rand(30, 2, generator=generator) * torch.tensor([420.0, 356.0]) - 50
    size = torch.exp(7 * torch.rand(30, 2, generator=generator) - 1)
    boxes = torch.cat((center - size / 2, center + size / 2), 1)
    # In a batch with an image that has no use for the low bounds of this one.
    truths = [GroundTruth(boxes, torch.zeros(30, dtype=torch.int64)), truth([100.0, 100.0, 164.0, 164.0])]
    both = Predictions(predictions.logits.expand(2, -1, -1), predictions.boxes.expand(2, -1, -1))
    assignment = MaxIoUAssigner(low_quality=low_quality)(both, anchors, truths)
    expected = DenseMaxIoU(low_quality=low_quality)(both, anchors, truths)
    assert torch.equal(assignment.gt_index, expected.gt_index)
    assert torch.equal(assignment.ambiguous, expected.ambiguous)


@pytest.mark.parametrize("settings", [{"negative": 0.0}, {"negative": 0.6}, {"positive": 1.5}], ids=str)
def test_impossible_settings(settings: dict) -> None:
    with pytest.raises(ValueError, match="negative"):
        MaxIoUAssigner(**settings)
