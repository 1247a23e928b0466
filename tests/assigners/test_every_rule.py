"""What holds for every assigner that has a name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.assigners import (
    Assigner,
    ATSSAssigner,
    FCOSAssigner,
    OTAAssigner,
    SimOTAAssigner,
    TaskAlignedAssigner,
    assigner_names,
    named_assigner,
)
from otadet.assigners.ops.pair_costs import DETRCost, OTACost
from otadet.profiling.meters import Meter, metered
from otadet.profiling.problems import Scene, draw_problem
from otadet.structures import BACKGROUND, IGNORED, Anchors, GroundTruth, Predictions
from tests.helpers.counting import assigned_on_fake_cuda, fake_problem
from tests.helpers.problems import late_predictions, make_anchors, random_problem

ASSIGNERS = {name: named_assigner(name) for name in assigner_names()} | {
    "simota of yolox": SimOTAAssigner.yolox(),
    "simota with rtmdet's cost": SimOTAAssigner(cost=OTACost.rtmdet()),
    "ota with rtmdet's cost": OTAAssigner(cost=OTACost.rtmdet()),
    "ota with yolox's cost": OTAAssigner(cost=OTACost.yolox()),
    "ota with detr's cost": OTAAssigner(cost=DETRCost()),
    "tal of yolo, soft": replace(TaskAlignedAssigner.yolo(), soft=True),
    "fcos without centre sampling": FCOSAssigner(radius=None),
    "atss r = 7": ATSSAssigner(topk=49),
    "ota k = 1": OTAAssigner(k=1),
    "ota after min area": OTAAssigner(ambiguity="min_area"),
    "ota after max iou": OTAAssigner(ambiguity="max_iou"),
    "ota after min loss": OTAAssigner(ambiguity="min_loss"),
}
ON_DEVICE = {name: assigner for name, assigner in ASSIGNERS.items() if name != "hungarian"}

every_rule = pytest.mark.parametrize("assigner", ASSIGNERS.values(), ids=ASSIGNERS.keys())
every_rule_on_device = pytest.mark.parametrize("assigner", ON_DEVICE.values(), ids=ON_DEVICE.keys())


@every_rule
def test_no_boxes_is_all_background(assigner: Assigner, generator: torch.Generator) -> None:
    assignment = assigner(*random_problem(generator, 0, 3, num_images=2))
    assert (assignment.gt_index == BACKGROUND).all()
    assert not assignment.ambiguous.any()


@every_rule
def test_assigns_boxes_that_exist(assigner: Assigner, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 20, 4, num_images=2)
    assignment = assigner(predictions, anchors, truths)
    assert assignment.gt_index.shape == assignment.ambiguous.shape == predictions.boxes.shape[:2]
    assert (assignment.gt_index.dtype, assignment.ambiguous.dtype) == (torch.int64, torch.bool)
    assert assignment.gt_index.max() < 20
    assert (assignment.gt_index >= 0).any(1).all()
    if assignment.score is not None:
        assert (assignment.score.shape, assignment.score.dtype) == (assignment.gt_index.shape, torch.float32)
        assert 0 <= assignment.score.min() <= assignment.score.max() <= 1
        assert (assignment.score[assignment.gt_index < 0] == 0).all()
        assert assignment.score.max() > 0


@every_rule
def test_a_box_between_the_points_harms_nobody(assigner: Assigner, generator: torch.Generator) -> None:
    predictions, anchors, (truth,) = random_problem(generator, 1, 3)
    tiny = torch.tensor([[100.5, 60.5, 103.0, 63.0], [0.0, 0.0, 1.0, 1.0], [30.0, 30.0, 30.0, 30.0]])
    truth = GroundTruth(torch.cat((tiny, truth.boxes)), torch.tensor([0, 1, 2, 0]))
    gt_index = assigner(predictions, anchors, [truth]).gt_index
    assert (gt_index == 3).any()
    assert gt_index.max() < 4


@every_rule
def test_boxes_far_outside_the_image_harm_nobody(assigner: Assigner, generator: torch.Generator) -> None:
    predictions, anchors, _ = random_problem(generator, 2, 3)
    far = GroundTruth(
        torch.tensor([[5000.0, 5000.0, 5100.0, 5100.0], [-900.0, 0.0, -800.0, 90.0]]), torch.tensor([0, 1])
    )
    assert assigner(predictions, anchors, [far]).gt_index.max() < 2


@every_rule
def test_a_batch_is_its_images_one_by_one(assigner: Assigner, generator: torch.Generator) -> None:
    anchors = make_anchors(256, 320)
    truths = [random_problem(generator, boxes, 4)[2][0] for boxes in (20, 3, 7)]
    predictions = late_predictions(generator, anchors, truths, 4)
    truths[1] = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    together = assigner(predictions, anchors, truths)
    for image, truth in enumerate(truths):
        alone = assigner(image_of(predictions, image), anchors, [truth])
        assert torch.equal(together.gt_index[image], alone.gt_index[0])
        assert torch.equal(together.ambiguous[image], alone.ambiguous[0])
        if together.score is not None:
            found = torch.zeros_like(together.score[image]) if alone.score is None else alone.score[0]
            torch.testing.assert_close(together.score[image], found, rtol=1e-6, atol=1e-7)


def image_of(predictions: Predictions, image: int) -> Predictions:
    part = slice(image, image + 1)
    return Predictions(predictions.logits[part], predictions.boxes[part], predictions.quality[part])


@every_rule
def test_the_order_of_the_boxes_does_not_matter(assigner: Assigner, generator: torch.Generator) -> None:
    predictions, anchors, (truth,) = random_problem(generator, 20, 4)
    order = torch.randperm(20, generator=generator)
    straight = assigner(predictions, anchors, [truth])
    permuted = assigner(predictions, anchors, [GroundTruth(truth.boxes[order], truth.labels[order])])
    renamed = torch.where(permuted.gt_index >= 0, order[permuted.gt_index.clamp(min=0)], permuted.gt_index)
    assert torch.equal(renamed, straight.gt_index)
    assert torch.equal(permuted.ambiguous, straight.ambiguous)
    if straight.score is not None:
        torch.testing.assert_close(permuted.score, straight.score, rtol=1e-6, atol=1e-7)


@every_rule
def test_the_order_of_boxes_with_the_same_best_anchor_does_not_matter(assigner: Assigner) -> None:
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        predictions, anchors, (truth,) = random_problem(generator, 12, 36)
        # Neighbours that fit between the same few points, none equal to another in class or in overlap.
        reach = 20 + 20 * torch.rand(*predictions.boxes.shape[:2], 4, generator=generator)
        around = torch.cat((anchors.points - reach[..., :2], anchors.points + reach[..., 2:]), -1)
        predictions = Predictions(predictions.logits, around, predictions.quality)
        corner = truth.boxes[:, :2].repeat_interleave(3, 0) + 6 * torch.rand(36, 2, generator=generator)
        boxes = torch.cat((corner, corner + 5 + 8 * torch.rand(36, 2, generator=generator)), 1)
        labels = torch.randperm(36, generator=generator)
        straight = assigner(predictions, anchors, [GroundTruth(boxes, labels)]).gt_index
        reversed_ = assigner(predictions, anchors, [GroundTruth(boxes.flip(0), labels.flip(0))]).gt_index
        assert torch.equal(torch.where(reversed_ >= 0, 35 - reversed_, reversed_), straight)


@every_rule
def test_predictions_that_are_not_numbers_do_not_stop_it(assigner: Assigner, generator: torch.Generator) -> None:
    """The loss is not finite either, and says which images they are."""
    predictions, anchors, truths = random_problem(generator, 10, 3)
    nothing = torch.full_like(predictions.boxes, torch.nan)
    broken = Predictions(torch.full_like(predictions.logits, torch.nan), nothing, predictions.quality)
    assignment = assigner(broken, anchors, truths)
    assert assignment.gt_index.max() < 10
    assert assignment.score is None or assignment.score.isfinite().all()


@every_rule
def test_infinite_predictions_have_finite_scores(assigner: Assigner, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 10, 3)
    for value in (torch.inf, -torch.inf):
        wrong = torch.rand(predictions.quality.shape, generator=generator) < 0.2
        broken = Predictions(
            predictions.logits.masked_fill(wrong[..., None], value),
            predictions.boxes.masked_fill(wrong[..., None].roll(1, 1), value),
            predictions.quality.masked_fill(wrong.roll(2, 1), -value),
        )
        assignment = assigner(broken, anchors, truths)
        assert assignment.gt_index.max() < 10
        assert (assignment.gt_index >= 0).any()
        assert assignment.score is None or assignment.score.isfinite().all()


@every_rule
def test_a_crowd_is_nobodys_and_has_no_score(assigner: Assigner, generator: torch.Generator) -> None:
    predictions, anchors, (truth,) = random_problem(generator, 5, 3)
    everywhere = replace(truth, ignored=torch.tensor([[-1e4, -1e4, 1e4, 1e4]]))
    free, crowded = assigner(predictions, anchors, [truth]), assigner(predictions, anchors, [everywhere])
    assert torch.equal(crowded.gt_index, torch.where(free.gt_index == BACKGROUND, IGNORED, free.gt_index))
    if free.score is not None:
        assert torch.equal(crowded.score, free.score)


@every_rule
@pytest.mark.parametrize(("label", "place"), [(3, -1), (-1, 0)])
def test_a_label_that_is_no_class(assigner: Assigner, label: int, place: int, generator: torch.Generator) -> None:
    predictions, anchors, (truth,) = random_problem(generator, 10, 3)
    truth.labels[place] = label
    with pytest.raises(ValueError, match=f"label {label}.*0 to 2"):
        assigner(predictions, anchors, [truth])


@every_rule
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_assigned_in_full_precision(
    assigner: Assigner, dtype: torch.dtype, generator: torch.Generator
) -> None:
    predictions, anchors, truths = random_problem(generator, 10, 3)
    half = Predictions(predictions.logits.to(dtype), predictions.boxes.to(dtype), predictions.quality.to(dtype))
    same_values = Predictions(half.logits.float(), half.boxes.float(), half.quality.float())
    assert torch.equal(assigner(half, anchors, truths).gt_index, assigner(same_values, anchors, truths).gt_index)


@every_rule
def test_predicted_boxes_of_negative_size_and_extreme_logits(assigner: Assigner, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 10, 3)
    logits = torch.randint(0, 2, predictions.logits.shape, generator=generator) * 100.0 - 50.0
    boxes = torch.cat((anchors.points, anchors.points - 20), -1)[None]
    gt_index = assigner(Predictions(logits, boxes, predictions.quality), anchors, truths).gt_index
    assert gt_index.shape == boxes.shape[:2]
    assert gt_index.max() < 10


@pytest.fixture(scope="module")
def scenes() -> dict[str, tuple[Predictions, Anchors, list[GroundTruth]]]:
    """100 boxes x 80 classes at 800 x 1216: of all sizes, and all nearly as large as the image."""
    problem = draw_problem(Scene(boxes=100, images=1))
    corner = torch.rand(100, 4, generator=torch.Generator().manual_seed(0)) * 60
    large = GroundTruth(corner + torch.tensor([0.0, 0.0, 1150.0, 730.0]), problem.truths[0].labels)
    return {
        "all sizes": (problem.predictions, problem.anchors, problem.truths),
        "large": (problem.predictions, problem.anchors, [large]),
    }


@every_rule
@pytest.mark.parametrize("scene", ["all sizes", "large"])
def test_needs_less_memory_than_two_copies_of_the_logits(assigner: Assigner, scene: str, scenes: dict) -> None:
    predictions, anchors, truths = scenes[scene]
    meter = metered(lambda: assigner(predictions, anchors, truths), torch.device("cpu"))
    assert 0 < meter.peak < 2 * predictions.logits.nbytes


@every_rule_on_device
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_does_not_wait_for_the_device(assigner: Assigner, dtype: torch.dtype) -> None:
    assignment = assigned_on_fake_cuda(assigner, dtype)
    if assignment.score is not None:
        assert (assignment.score.device.type, assignment.score.dtype) == ("cuda", torch.float32)


@every_rule_on_device
def test_needs_less_device_memory_than_two_copies_of_the_logits(assigner: Assigner) -> None:
    with FakeTensorMode(), Meter("cuda") as meter:
        problem = fake_problem([100], height=800, width=1216, num_classes=80)
        before = meter.peak
        assigner(*problem)
    assert 0 < meter.peak - before < 2 * problem[0].logits.nbytes
