"""OTA against the dense float64 problem, and everything that happens in practice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from otadet.assigners import OTAAssigner
from otadet.assigners.ops.costs import BCECost, DistanceCost, GIoUCost, QFLCost
from otadet.assigners.ops.pair_costs import DETRCost, OTACost, PairCost
from otadet.structures import BACKGROUND, Anchors, Assignment, GroundTruth, Predictions
from tests.helpers.dense_ota import (
    PairCosts,
    bce,
    dense_ota,
    giou_loss,
    inside_prior,
    nearest_prior,
    ordered,
    window_prior,
)
from tests.helpers.other_costs import detr_costs, rtmdet_costs, yolox_costs
from tests.helpers.problems import late_predictions, make_anchors, random_problem

SIZES = ((256, 256), (192, 320), (224, 160))


def assert_same_but_for_ties(
    assignment: Assignment, predictions: Predictions, anchors: Anchors, truth: GroundTruth, **settings
) -> None:
    """Wherever the two differ, the dense plan's best two shares of the anchor are equal to 1 part in 10^6."""
    dense = dense_ota(predictions, anchors, truth, **settings)
    differs = assignment.gt_index[0] != dense.gt_index
    first, second = dense.share[:, differs].topk(2, dim=0).values
    assert (first - second <= 1e-6 * first).all(), f"{int(differs.sum())} anchors differ"


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_dense_problem(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    compared = 0
    for trial in range(25):
        # Squared: small numbers are the more frequent ones, as in photographs, and the dense problem is slow.
        num_boxes, num_classes = (1 + int(top * torch.rand(1, generator=generator) ** 2) for top in (60, 80))
        height, width = SIZES[trial % len(SIZES)]
        predictions, anchors, truths = random_problem(
            generator, num_boxes, num_classes, height, width, late=trial % 2 == 0
        )
        dense = dense_ota(predictions, anchors, truths[0])
        if not dense.prior.any(1).all() or not dense.plan.isfinite().all():
            continue  # a box without a point inside, or more supply than anchors: not the paper's problem, see below
        assert_same_but_for_ties(OTAAssigner()(predictions, anchors, truths), predictions, anchors, truths[0])
        compared += 1
    assert compared >= 15


PLAIN = {"class_cost": ("class_loss", bce), "box_cost": ("box_loss", giou_loss)}
"""The oracle's argument and value for each cost that is not the default."""

SETTINGS = [
    {},
    {"radius": 1.5},
    {"radius": 3.5},
    {"top_q": 5, "iou_weight": 3.0},
    {"eps": 0.5},
    {"iterations": 3},
    {"class_cost": BCECost()},
    {"box_cost": GIoUCost()},
    {"class_cost": BCECost(), "box_cost": GIoUCost(), "k": 5},
]


def plain_prior(prior: str, radius: float, anchors: Anchors, truth: GroundTruth) -> Tensor:
    """(G, A) bool, by brute force."""
    points, strides, boxes = anchors.points.double(), anchors.strides.double(), truth.boxes.double()
    if prior == "nearest":
        return nearest_prior(points, strides, boxes, round(2 * radius))
    found = window_prior(points, strides, boxes, radius) if prior == "window" else inside_prior(points, boxes)
    assert found.any(1).all(), "a box without a point inside is another test's subject"
    return found


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("prior", ["window", "nearest", "none"])
def test_settings_equal_those_of_the_dense_problem(prior: str, settings: dict, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 12, 5)
    assignment = OTAAssigner(prior=prior, **settings)(predictions, anchors, truths)
    plain = dict(PLAIN.get(name, (name, value)) for name, value in settings.items())
    plain["prior"] = plain_prior(prior, settings.get("radius", 2.5), anchors, truths[0])
    assert_same_but_for_ties(assignment, predictions, anchors, truths[0], **plain)


COSTS = {
    "yolox": (OTACost.yolox(), yolox_costs),
    "rtmdet": (OTACost.rtmdet(), rtmdet_costs),
    "detr": (DETRCost(), detr_costs),
}


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(("cost", "plain"), COSTS.values(), ids=COSTS.keys())
def test_other_costs_equal_those_of_the_dense_problem(cost: PairCost, plain: PairCosts, late: bool) -> None:
    compared = 0
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        predictions, anchors, truths = random_problem(generator, 1 + 3 * seed, 5, late=late)
        # A distance of boxes whose corners are crossed is anybody's choice.
        predictions = replace(predictions, boxes=ordered(predictions.boxes))
        dense = dense_ota(predictions, anchors, truths[0], pair_cost=plain)
        if not dense.prior.any(1).all() or not dense.plan.isfinite().all():
            continue
        assignment = OTAAssigner(cost=cost)(predictions, anchors, truths)
        assert_same_but_for_ties(assignment, predictions, anchors, truths[0], pair_cost=plain)
        compared += 1
    assert compared >= 6


def test_the_terms_of_a_cost_are_the_fields_of_the_rule(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 12, 5)
    settings = {"iou_weight": 2.0, "class_cost": QFLCost(1.5), "box_cost": GIoUCost()}
    fields, cost = OTAAssigner(**settings), OTAAssigner(cost=OTACost(**settings))
    assert torch.equal(fields.mass(predictions, anchors, truths[0]), cost.mass(predictions, anchors, truths[0]))
    far = OTAAssigner(cost=OTACost(**settings, prior_cost=DistanceCost(radius=0.0)))
    assert not torch.equal(far.mass(predictions, anchors, truths[0]), cost.mass(predictions, anchors, truths[0]))


@pytest.mark.parametrize("prior", ["window", "nearest", "none"])
def test_any_fixed_k_equals_that_of_the_dense_problem(prior: str, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 6, 3)
    plain = plain_prior(prior, 2.5, anchors, truths[0])
    for k in range(1, 21):
        assignment = OTAAssigner(prior=prior, k=k)(predictions, anchors, truths)
        assert_same_but_for_ties(assignment, predictions, anchors, truths[0], prior=plain, k=k)


def test_equals_the_dense_problem_at_full_size(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 7, 80, 800, 1216)
    assert_same_but_for_ties(OTAAssigner()(predictions, anchors, truths), predictions, anchors, truths[0])


def test_ambiguous_are_candidates_whose_largest_share_is_below_0_9(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 30, 5)
    dense = dense_ota(predictions, anchors, truths[0])
    expected = (dense.plan.amax(0) < 0.9) & dense.prior.any(0)
    borderline = (dense.plan.amax(0) - 0.9).abs() < 1e-6
    ambiguous = OTAAssigner()(predictions, anchors, truths).ambiguous[0]
    assert expected.any()
    assert torch.equal(ambiguous[~borderline], expected[~borderline])


def test_no_boxes_is_all_background(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 0, 3, num_images=2)
    assignment = OTAAssigner()(predictions, anchors, truths)
    assert (assignment.gt_index == BACKGROUND).all()
    assert not assignment.ambiguous.any()


def test_a_batch_is_its_images_one_by_one(generator: torch.Generator) -> None:
    anchors = make_anchors(256, 320)
    truths = [random_problem(generator, boxes, 4)[2][0] for boxes in (20, 0, 3)]
    empty = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    stand_in = [truth if len(truth.boxes) else truths[0] for truth in truths]
    predictions = late_predictions(generator, anchors, stand_in, 4)
    together = OTAAssigner()(predictions, anchors, [truths[0], empty, truths[2]])
    for image, truth in enumerate((truths[0], empty, truths[2])):
        part = slice(image, image + 1)
        alone = OTAAssigner()(Predictions(predictions.logits[part], predictions.boxes[part]), anchors, [truth])
        assert torch.equal(together.gt_index[part], alone.gt_index)
        assert torch.equal(together.ambiguous[part], alone.ambiguous)


def test_the_order_of_the_boxes_does_not_matter(generator: torch.Generator) -> None:
    predictions, anchors, (truth,) = random_problem(generator, 20, 4)
    order = torch.randperm(20, generator=generator)
    straight = OTAAssigner()(predictions, anchors, [truth]).gt_index[0]
    permuted = OTAAssigner()(predictions, anchors, [GroundTruth(truth.boxes[order], truth.labels[order])]).gt_index[0]
    assert torch.equal(torch.where(permuted >= 0, order[permuted.clamp(min=0)], permuted), straight)


@pytest.mark.parametrize("assigner", [OTAAssigner(), OTAAssigner(prior="none"), OTAAssigner(prior="nearest")], ids=str)
@pytest.mark.parametrize("corner", [(100.0, 60.0), (103.3, 61.7), (0.0, 0.0), (318.0, 254.5)])
def test_a_box_between_the_points_gets_an_anchor(
    assigner: OTAAssigner, corner: tuple[float, float], generator: torch.Generator
) -> None:
    predictions, anchors, _ = random_problem(generator, 1, 3, late=False)
    box = torch.tensor([[*corner, corner[0] + 1.5, corner[1] + 1.5]])
    gt_index = assigner(predictions, anchors, [GroundTruth(box, torch.tensor([2]))]).gt_index
    assert (gt_index == 0).any()


def test_more_supply_than_anchors(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 300, 3, 64, 64)
    assert OTAAssigner(k=5)(predictions, anchors, truths).gt_index.unique().numel() > 1
    assignment = OTAAssigner()(predictions, anchors, truths)
    assert assignment.gt_index.shape == (1, len(anchors.points))
    assert (assignment.gt_index >= 0).sum() > len(anchors.points) / 2
    assert assignment.gt_index.max() < 300


@pytest.mark.parametrize("extreme", [50.0, -50.0, None])
def test_extreme_logits_equal_the_dense_problem(extreme: float | None, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 10, 3)
    signs = torch.randint(0, 2, predictions.logits.shape, generator=generator) * 100.0 - 50.0
    logits = signs if extreme is None else torch.full_like(signs, extreme)
    predictions = Predictions(logits, predictions.boxes)
    assignment = OTAAssigner()(predictions, anchors, truths)
    assert (assignment.gt_index >= 0).any()
    assert_same_but_for_ties(assignment, predictions, anchors, truths[0])


@pytest.mark.parametrize("size", [0.0, -20.0])
def test_predicted_boxes_of_zero_and_negative_size(size: float, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 10, 3)
    boxes = torch.cat((anchors.points, anchors.points + size), -1)[None]
    predictions = Predictions(predictions.logits, boxes)
    assignment = OTAAssigner()(predictions, anchors, truths)
    assert set(range(10)) <= set(assignment.gt_index.unique().tolist())
    assert_same_but_for_ties(assignment, predictions, anchors, truths[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_assigned_in_full_precision(dtype: torch.dtype, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 10, 3)
    half = Predictions(predictions.logits.to(dtype), predictions.boxes.to(dtype))
    same_values = Predictions(half.logits.double(), half.boxes.double())
    assert torch.equal(
        OTAAssigner()(half, anchors, truths).gt_index, OTAAssigner()(same_values, anchors, truths).gt_index
    )


def test_fewer_candidates_than_top_q(generator: torch.Generator) -> None:
    predictions, anchors, _ = random_problem(generator, 1, 3)
    truth = GroundTruth(torch.tensor([[96.5, 96.5, 103.5, 103.5]]), torch.tensor([1]))
    assert dense_ota(predictions, anchors, truth).prior.sum() == 1
    assert (OTAAssigner()(predictions, anchors, [truth]).gt_index == 0).sum() == 1


def test_arguments_are_left_alone_and_nothing_needs_a_gradient(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3)
    predictions.logits.requires_grad_(True)
    before = [predictions.logits.clone(), predictions.boxes.clone(), truths[0].boxes.clone()]
    first, second = (OTAAssigner()(predictions, anchors, truths).gt_index for _ in range(2))
    assert torch.equal(first, second)
    for tensor, copy in zip((predictions.logits, predictions.boxes, truths[0].boxes), before, strict=True):
        assert torch.equal(tensor, copy)


@pytest.mark.parametrize("settings", [{"prior": "centre"}, {"radius": 0}, {"k": 0}, {"eps": 0}, {"top_q": 0}], ids=str)
def test_impossible_settings(settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        OTAAssigner(**settings)


def test_contradicting_shapes(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 2, 3)
    with pytest.raises(ValueError, match="images"):
        OTAAssigner()(predictions, anchors, truths * 2)
    with pytest.raises(ValueError, match="anchors"):
        OTAAssigner()(predictions, make_anchors(64, 64), truths)


def test_mass_is_the_plan_of_the_dense_problem(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 12, 5)
    mass = OTAAssigner().mass(predictions, anchors, truths[0])
    assert torch.allclose(mass, dense_ota(predictions, anchors, truths[0]).plan[:-1], atol=1e-9)
