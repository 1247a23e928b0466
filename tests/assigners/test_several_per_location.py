"""Nine anchors per location: every rule sees what it would see in nine grids of one anchor per location."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.assigners import Assigner, FCOSAssigner, OTAAssigner, SimOTAAssigner, assigner_names, named_assigner
from otadet.structures import IGNORED, Anchors, Assignment, GroundTruth, Predictions
from tests.helpers.counting import fake_problem
from tests.helpers.problems import STRIDES, late_predictions, make_anchors, random_problem

SHAPES = {"scale": (4.0, 5.0, 6.3), "aspect_ratios": (0.5, 1.0, 2.0)}
NINE = 9
ASSIGNERS = {name: named_assigner(name) for name in assigner_names()} | {
    "ota nearest": OTAAssigner(prior="nearest"),
    "simota none": SimOTAAssigner(prior="none"),
    "simota of yolox": SimOTAAssigner.yolox(),
    "fcos without centre sampling": FCOSAssigner(radius=None),
}
OF_A_LEVEL = ("fcos", "fcos without centre sampling", "paa")
"""Rules for which nine grids of one stride are no levels."""
AS_GRIDS = {name: assigner for name, assigner in ASSIGNERS.items() if name not in OF_A_LEVEL}
Problem = tuple[Predictions, Anchors, list[GroundTruth]]


def problem(generator: torch.Generator, **settings: object) -> Problem:
    anchors = make_anchors(160, 224, **SHAPES, **settings)
    truths = [random_problem(generator, boxes, 3, 160, 224)[2][0] for boxes in (6, 1, 3)]
    return late_predictions(generator, anchors, truths, 3), anchors, truths


def as_grids(anchors: Anchors) -> tuple[Anchors, Tensor]:
    """The same anchors, one level per shape and stride, and where each of these is in `anchors`."""
    levels = torch.arange(len(anchors.points)).split(anchors.level_counts)
    order = torch.cat([level.view(-1, NINE).T.flatten() for level in levels])
    sizes = tuple(size for size in anchors.level_sizes for _ in range(NINE))
    return Anchors(anchors.points[order], anchors.boxes[order], anchors.strides[order], sizes), order


def of_order(predictions: Predictions, order: Tensor) -> Predictions:
    return Predictions(predictions.logits[:, order], predictions.boxes[:, order], predictions.quality[:, order])


def assert_same(found: Assignment, expected: Assignment) -> None:
    assert torch.equal(found.gt_index, expected.gt_index)
    assert torch.equal(found.ambiguous, expected.ambiguous)
    assert (found.score is None) == (expected.score is None)
    if found.score is not None:
        torch.testing.assert_close(found.score, expected.score, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("assigner", AS_GRIDS.values(), ids=AS_GRIDS.keys())
def test_is_what_nine_grids_would_get(assigner: Assigner, generator: torch.Generator) -> None:
    predictions, anchors, truths = problem(generator)
    grids, order = as_grids(anchors)
    expected = assigner(of_order(predictions, order), grids, truths)
    found = assigner(predictions, anchors, truths)
    assert (found.gt_index >= 0).any(1).all()
    score = None if found.score is None else found.score[:, order]
    assert_same(Assignment(found.gt_index[:, order], found.ambiguous[:, order], score), expected)


def test_fcos_looks_at_points_alone(generator: torch.Generator) -> None:
    predictions, anchors, truths = problem(generator)
    one = make_anchors(160, 224)
    expected = FCOSAssigner()(of_order(predictions, torch.arange(len(one.points))), one, truths)
    found = FCOSAssigner()(predictions, anchors, truths)
    assert torch.equal(found.gt_index.view(3, -1, NINE), expected.gt_index[..., None].expand(-1, -1, NINE))


@pytest.mark.parametrize("assigner", ASSIGNERS.values(), ids=ASSIGNERS.keys())
def test_an_accelerator_gives_the_same(
    assigner: Assigner, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, anchors, truths = problem(generator, whole_pixels=True, offset=0.0)
    expected = assigner(predictions, anchors, truths)
    for module in [module for name, module in sys.modules.items() if name.startswith("otadet.assigners")]:
        if hasattr(module, "on_host"):
            monkeypatch.setattr(module, "on_host", lambda tensor: False)
    assert_same(assigner(predictions, anchors, truths), expected)


ON_DEVICE = {name: assigner for name, assigner in ASSIGNERS.items() if name != "hungarian"}


@pytest.mark.parametrize("assigner", ON_DEVICE.values(), ids=ON_DEVICE.keys())
def test_does_not_wait_for_the_device(assigner: Assigner) -> None:
    with FakeTensorMode():
        predictions, anchors, truths = fake_problem([3, 0, 7], **SHAPES, whole_pixels=True)
        assignment = assigner(predictions, anchors, truths)
    assert assignment.gt_index.device.type == assignment.ambiguous.device.type == "cuda"
    assert assignment.gt_index.shape == predictions.boxes.shape[:2]


def test_all_shapes_of_a_point_in_an_ignored_region_are_ignored(generator: torch.Generator) -> None:
    predictions, anchors, truths = problem(generator)
    truths = [replace(truth, ignored=torch.tensor([[0.0, 0, 30, 30]])) for truth in truths]
    found = named_assigner("atss")(predictions, anchors, truths).gt_index == IGNORED
    inside = ((anchors.points > 0) & (anchors.points < 30)).all(1)
    assert found.any()
    assert not found[:, ~inside].any()


def test_points_that_are_closer_than_a_stride_are_found() -> None:
    """152 pixels are 3 cells of 50 on the level of stride 64, and 2 of 76 on that of 128."""
    anchors = make_anchors(152, 152, whole_pixels=True, offset=0.0)
    assert anchors.spacing[-2:] == ((50, 50), (76, 76))
    last = anchors.points[-4:]
    assert last.tolist() == [[0, 0], [76, 0], [0, 76], [76, 76]]
    truth = GroundTruth(torch.tensor([[60.0, 60.0, 92.0, 92.0]]), torch.tensor([0]))
    predictions = Predictions(torch.zeros(1, len(anchors.points), 1), anchors.boxes[None])
    taken = OTAAssigner(k=100, prior="nearest", radius=0.5).find_pairs(predictions, anchors, padded(truth))
    assert anchors.points[taken.anchor_row[-1]].tolist() == [76, 76]
    assert anchors.strides[taken.anchor_row[-1]] == STRIDES[-1]


def padded(truth: GroundTruth):
    from otadet.assigners.base import pad_truths

    return pad_truths([truth], 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_location": 0}, "at least 1 anchor"),
        ({"per_location": 2}, "with 2 anchors per location make"),
        ({"spacing": ((8, 8),)}, "for each of the levels"),
        ({"spacing": ((0, 8),) * 5}, "above 0"),
    ],
)
def test_contradictions_are_refused(changes: dict, message: str, generator: torch.Generator) -> None:
    predictions, anchors, truths = problem(generator)
    with pytest.raises(ValueError, match=message):
        named_assigner("ota")(predictions, replace(anchors, **changes), truths)
