"""Ignored regions: by hand, for every rule, in FreeAnchor's loss, and on a device."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.assigners import Assigner, FCOSAssigner, MaxIoUAssigner, OTAAssigner, assigner_names, named_assigner
from otadet.assigners.ops import ignored as module
from otadet.losses import DetectionLoss, FreeAnchorLoss
from otadet.profiling.meters import Meter
from otadet.structures import BACKGROUND, IGNORED, GroundTruth, Predictions
from tests.helpers.counting import fake_problem
from tests.helpers.problems import random_problem
from tests.helpers.small_grids import grid, no_say, truth

ASSIGNERS = {name: named_assigner(name) for name in assigner_names()}
NO_BOXES = torch.zeros(0, 4)


def crowds(*regions: list[float], boxes: torch.Tensor = NO_BOXES) -> GroundTruth:
    return GroundTruth(boxes, torch.zeros(len(boxes), dtype=torch.int64), torch.tensor(regions).view(-1, 4))


def test_points_in_a_region_of_their_image_by_hand() -> None:
    anchors = grid((1, 4))  # points at x = 4, 12, 20, 28 and y = 4
    truths = [crowds([0.0, 0, 8, 8], [12.0, 4, 20, 5]), truth([0.0, 0, 8, 8]), crowds([0.0, 5, 40, 40])]
    found = module.in_ignored_regions(anchors, truths)
    assert found.tolist() == [[True, True, True, False], [False] * 4, [False] * 4]


@pytest.mark.parametrize("truths", [[truth([0.0, 0, 8, 8])], [crowds()], []], ids=["none", "no region", "no image"])
def test_without_a_region_there_is_nothing(truths: list[GroundTruth]) -> None:
    assert module.in_ignored_regions(grid((1, 4)), truths) is None


def test_many_regions_come_some_at_a_time(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    _, anchors, truths = random_problem(generator, 20, 2, num_images=2)
    given = [GroundTruth(NO_BOXES, torch.zeros(0, dtype=torch.int64), truth.boxes) for truth in truths]
    at_once = module.in_ignored_regions(anchors, given)
    monkeypatch.setattr(module, "TESTS_ON_HOST", 3 * len(anchors.points))
    assert torch.equal(module.in_ignored_regions(anchors, given), at_once)
    point = anchors.points[:, None]
    for image, truth_ in enumerate(truths):
        expected = ((point >= truth_.boxes[:, :2]) & (point <= truth_.boxes[:, 2:])).all(-1).any(1)
        assert torch.equal(at_once[image], expected)


@pytest.mark.parametrize("assigner", ASSIGNERS.values(), ids=ASSIGNERS.keys())
def test_background_in_a_region_is_ignored_and_nothing_else_changes(
    assigner: Assigner, generator: torch.Generator
) -> None:
    predictions, anchors, truths = random_problem(generator, 10, 3, num_images=2)
    half = torch.tensor([[0.0, 0.0, 160.0, 256.0]])
    given = [GroundTruth(truths[0].boxes, truths[0].labels, half), truths[1]]
    before, after = assigner(predictions, anchors, truths), assigner(predictions, anchors, given)
    left = anchors.points[:, 0] <= 160
    expected = before.gt_index.clone()
    expected[0, left & (before.gt_index[0] == BACKGROUND)] = IGNORED
    assert torch.equal(after.gt_index, expected)
    assert torch.equal(after.ambiguous, before.ambiguous)
    assert (before.gt_index[0, left] >= 0).any()


def test_an_image_without_boxes_has_regions_too() -> None:
    anchors = grid((1, 4))
    gt_index = OTAAssigner()(no_say(anchors), anchors, [crowds([0.0, 0, 16, 8])]).gt_index
    assert gt_index.tolist() == [[IGNORED, IGNORED, BACKGROUND, BACKGROUND]]


def test_the_losses_leave_the_ignored_out(generator: torch.Generator) -> None:
    """FreeAnchor's bag is the object's best 50; where the object is, nothing else may change."""
    predictions, anchors, (objects,) = random_problem(generator, 1, 2)
    everywhere = torch.tensor([[0.0, 0.0, 400.0, 400.0]])
    for loss in (DetectionLoss(FCOSAssigner()), FreeAnchorLoss()):
        logits = predictions.logits.clone().requires_grad_()
        given = GroundTruth(objects.boxes, objects.labels, everywhere)
        sum(loss(Predictions(logits, predictions.boxes, predictions.quality), anchors, [given]).values()).backward()
        trained = (logits.grad != 0).any(-1).sum()
        assert 0 < trained <= 50
        no_region = GroundTruth(objects.boxes, objects.labels, NO_BOXES)
        assert loss(predictions, anchors, [no_region]) == loss(predictions, anchors, [objects])


def test_free_anchor_without_objects_and_with_everything_ignored_is_0() -> None:
    anchors = grid((2, 2))
    predictions = Predictions(torch.zeros(1, 4, 2), torch.zeros(1, 4, 4))
    losses = FreeAnchorLoss()(predictions, anchors, [crowds([0.0, 0, 16, 16])])
    assert [value.item() for value in losses.values()] == [0.0, 0.0]
    half = FreeAnchorLoss()(predictions, anchors, [crowds([0.0, 0, 16, 8])])["negative"]
    torch.testing.assert_close(2 * half, FreeAnchorLoss()(predictions, anchors, [crowds()])["negative"])


def with_regions(truths: list[GroundTruth], counts: tuple[int, ...]) -> list[GroundTruth]:
    return [
        GroundTruth(one.boxes, one.labels, torch.zeros(count, 4, device=one.boxes.device))
        for one, count in zip(truths, counts, strict=True)
    ]


CALLS = {"max_iou": MaxIoUAssigner(), "ota": OTAAssigner(iterations=3), "free_anchor": FreeAnchorLoss()}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_does_not_wait_for_the_device(call: Assigner | FreeAnchorLoss) -> None:
    launches = {}
    with FakeTensorMode():
        predictions, anchors, truths = fake_problem([3, 0, 7])
        for counts in ((0, 0, 0), (2, 0, 5), (40, 1, 0)):
            given = with_regions(truths, counts)
            with Meter("cuda") as meter:
                call(predictions, anchors, given)
            launches[counts] = meter.launches
        with Meter("cuda") as meter:
            call(predictions, anchors, truths)
    # No region costs nothing, and forty as many operations as a few.
    assert launches[0, 0, 0] == meter.launches
    assert launches[2, 0, 5] == launches[40, 1, 0] > meter.launches


def test_regions_that_are_none() -> None:
    anchors = grid((1, 4))
    one = truth([0.0, 0, 8, 8])
    with pytest.raises(ValueError, match=r"truths\[0\].ignored\[1\] is .*nan.*not finite"):
        FCOSAssigner()(no_say(anchors), anchors, [crowds([0.0, 0, 8, 8], [0.0, 0, torch.nan, 8], boxes=one.boxes)])
    wrong = GroundTruth(one.boxes, one.labels, torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"ignored are .* of shape \(2, 5\), not numbers of shape \(regions, 4\)"):
        FCOSAssigner()(no_say(anchors), anchors, [wrong])


def test_a_region_that_is_not_finite_holds_no_point_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it cannot be refused."""
    monkeypatch.setattr(module, "on_host", lambda tensor: False)
    anchors = grid((1, 4))
    found = module.in_ignored_regions(anchors, [crowds([0.0, 0, torch.inf, 8], [torch.nan, 0, 8, 8], [0.0, 0, 8, 8])])
    assert found.tolist() == [[True, False, False, False]]
