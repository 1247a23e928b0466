"""FCOS by hand and against the dense rule."""

from __future__ import annotations

import pytest
import torch

from otadet.assigners import FCOSAssigner
from otadet.models import AnchorGrid
from otadet.structures import BACKGROUND
from tests.helpers.dense_assigners import DenseFCOS
from tests.helpers.problems import random_problem
from tests.helpers.small_grids import grid, no_say, truth

LARGE, SMALL = [0.0, 0.0, 32.0, 32.0], [8.0, 8.0, 16.0, 16.0]
ANY_SIZE = ((-1.0, torch.inf),)


def test_the_points_near_the_centre_and_the_smaller_box_first() -> None:
    anchors = grid((4, 4))
    assignment = FCOSAssigner(ranges=ANY_SIZE)(no_say(anchors), anchors, [truth(LARGE, SMALL)])
    assert assignment.gt_index.view(4, 4).tolist() == [
        [-1, -1, -1, -1],
        [-1, 1, 0, -1],
        [-1, 0, 0, -1],
        [-1, -1, -1, -1],
    ]
    assert assignment.ambiguous.flatten().nonzero().tolist() == [[5]]


def test_without_centre_sampling_every_point_in_the_box() -> None:
    anchors = grid((4, 4))
    assignment = FCOSAssigner(radius=None, ranges=ANY_SIZE)(no_say(anchors), anchors, [truth(LARGE, SMALL)])
    assert assignment.gt_index[0, 5] == 1
    assert (assignment.gt_index == 0).sum() == 15


@pytest.mark.parametrize("radius", [1.5, None])
def test_a_box_belongs_to_the_level_of_its_size(radius: float | None) -> None:
    anchors = grid((4, 4), (2, 2))
    assignment = FCOSAssigner(radius, ranges=((-1, 16), (16, torch.inf)))(
        no_say(anchors), anchors, [truth(LARGE, SMALL)]
    )
    assert assignment.gt_index[0, :16].tolist() == [BACKGROUND] * 5 + [1] + [BACKGROUND] * 10
    assert assignment.gt_index[0, 16:].tolist() == [0, 0, 0, 0]
    assert not assignment.ambiguous.any()


@pytest.mark.parametrize("radius", [1.5, None])
def test_both_ends_of_a_range_are_included(radius: float | None) -> None:
    anchors = grid((4, 4))
    # The points nearest to the centre have their farthest side at 20 pixels.
    for ranges in (((-1, 20),), ((20, 20),)):
        gt_index = FCOSAssigner(radius, ranges)(no_say(anchors), anchors, [truth(LARGE)]).gt_index[0]
        assert (gt_index >= 0).nonzero().flatten().tolist() == [5, 6, 9, 10]


@pytest.mark.parametrize("radius", [1.5, None])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_dense_rule(radius: float | None, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    predictions, anchors, truths = random_problem(generator, 60, 2, 512, 640)
    truths[0].boxes[:5, 2:] += 300
    assignment = FCOSAssigner(radius)(predictions, anchors, truths)
    expected = DenseFCOS(radius)(predictions, anchors, truths)
    assert torch.equal(assignment.gt_index, expected.gt_index)
    assert torch.equal(assignment.ambiguous, expected.ambiguous)
    assert expected.ambiguous.any()


@pytest.mark.parametrize("radius", [1.5, None])
@pytest.mark.parametrize("strides", [(8, 16, 32, 64, 128), (4, 8, 16), (5, 20), (16,)])
def test_the_ranges_are_those_of_the_strides(strides: tuple[int, ...], radius: float | None) -> None:
    anchors = AnchorGrid(strides)([torch.empty(1, 1, -(-320 // stride), -(-320 // stride)) for stride in strides])
    boxes = truth(*([160 - side, 160 - side, 160 + side, 160 + side] for side in (4.0, 15.0, 40.0, 63.0, 100.0, 159.0)))
    ends = [8.0 * stride for stride in strides[:-1]]
    ranges = tuple(zip([-1.0, *ends], [*ends, torch.inf], strict=True))
    derived, stated = (
        rule(no_say(anchors), anchors, [boxes]) for rule in (FCOSAssigner(radius), FCOSAssigner(radius, ranges))
    )
    assert (derived.gt_index >= 0).any()
    assert torch.equal(derived.gt_index, stated.gt_index)
    assert torch.equal(derived.ambiguous, stated.ambiguous)


def test_one_range_a_level() -> None:
    anchors = grid((4, 4))
    with pytest.raises(ValueError, match="5 of them, but the anchors have 1"):
        FCOSAssigner(ranges=5 * ANY_SIZE)(no_say(anchors), anchors, [truth(LARGE)])


def test_impossible_radius() -> None:
    with pytest.raises(ValueError, match="radius"):
        FCOSAssigner(radius=0)
