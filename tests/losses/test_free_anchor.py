"""FreeAnchor's loss against a plain implementation, one object at a time, and on answers known beforehand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import box_iou, generalized_box_iou

from otadet.losses.free_anchor import FreeAnchorLoss
from otadet.structures import Anchors, GroundTruth, Predictions
from tests.helpers.counting import fake_problem
from tests.helpers.dense_ota import ordered
from tests.helpers.problems import make_anchors, random_problem


def plain_terms(predictions: Predictions, anchors: Anchors, truths: list[GroundTruth]) -> tuple[Tensor, Tensor]:
    """The two sums, before they are divided by the number of objects."""
    positive = negative = torch.zeros((), dtype=torch.float64)
    for image, truth in enumerate(truths):
        score = (predictions.logits[image].double().sigmoid().T * predictions.quality[image].double().sigmoid()).T
        boxes = ordered(predictions.boxes[image].double())
        deserved = torch.zeros_like(score)
        for box, label in zip(truth.boxes.double(), truth.labels, strict=True):
            bag = box_iou(box[None], anchors.boxes.double())[0].topk(50).indices
            match = score[bag, label] * (-0.75 * (1 - generalized_box_iou(box[None], boxes[bag])[0])).exp()
            weight = 1 / (1 - match)
            positive = positive - 0.5 * ((weight * match).sum() / weight.sum()).log()
            overlap = box_iou(box[None], boxes)[0]
            if overlap.max() > 0.6:
                share = ((overlap - 0.6) / (overlap.max() - 0.6)).clamp(0, 1)
                deserved[:, label] = deserved[:, label].maximum(share)
        missed = score * (1 - deserved)
        negative = negative - 0.5 * (missed**2 * (1 - missed).log()).sum() / 50
    return positive, negative


@pytest.mark.parametrize("late", [True, False])
def test_equals_a_plain_implementation(late: bool, generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 6, 4, num_images=2, late=late)
    # Anchor boxes inside an object overlap it equally; which of them are in its bag would be left to chance.
    noise = torch.rand(anchors.boxes.shape, generator=generator)
    anchors = replace(anchors, boxes=anchors.boxes + noise)
    losses = FreeAnchorLoss()(predictions, anchors, truths)
    positive, negative = plain_terms(predictions, anchors, truths)
    torch.testing.assert_close(losses["positive"].double(), positive / 12, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses["negative"].double(), negative / 12, rtol=1e-5, atol=0)


def test_the_best_anchor_decides_once_it_is_good() -> None:
    anchors = make_anchors(64, 64)
    truth = GroundTruth(torch.tensor([[8.0, 8.0, 56.0, 56.0]]), torch.tensor([0]))
    logits = torch.full((1, len(anchors.points), 1), -6.0)
    boxes = truth.boxes.expand(1, len(anchors.points), 4)
    before = FreeAnchorLoss()(Predictions(logits, boxes), anchors, [truth])
    best = logits.clone()
    best[0, 27] = 12.0  # at (28, 28)
    after = FreeAnchorLoss()(Predictions(best, boxes), anchors, [truth])
    assert before["positive"] > 2.9
    assert after["positive"] < 0.01


def test_an_anchor_that_predicts_the_object_is_not_pushed_to_the_background() -> None:
    anchors = make_anchors(64, 64)
    truth = GroundTruth(torch.tensor([[8.0, 8.0, 56.0, 56.0]]), torch.tensor([0]))
    boxes = torch.cat((anchors.points, anchors.points + 2), 1)
    boxes[5] = truth.boxes[0]
    logits = torch.zeros(1, len(anchors.points), 2, requires_grad=True)
    FreeAnchorLoss()(Predictions(logits, boxes[None]), anchors, [truth])["negative"].backward()
    assert logits.grad[0, 5, 0] == 0
    assert logits.grad[0, 5, 1] > 0
    assert (logits.grad[0, 6] > 0).all()


@pytest.mark.parametrize("sizes", [(0, 0), (3, 0)], ids=str)
def test_images_without_objects_train_the_background(sizes: tuple[int, ...], generator: torch.Generator) -> None:
    predictions, anchors, _ = random_problem(generator, 0, 2, num_images=2)
    truths = [random_problem(generator, size, 2)[2][0] for size in sizes]
    for part in (predictions.logits, predictions.boxes, predictions.quality):
        part.requires_grad_(True)
    losses = FreeAnchorLoss()(predictions, anchors, truths)
    sum(losses.values()).backward()
    assert (losses["positive"].item() > 0) == (sum(sizes) > 0)
    assert (predictions.logits.grad[1] > 0).all()
    assert predictions.boxes.grad[1].abs().sum() == 0
    assert predictions.quality.grad[1].abs().sum() > 0


def test_without_objects_by_hand() -> None:
    """Each class of each anchor has probability 1/2: half of the sum of (1/2)^2 log 2, not divided."""
    anchors = make_anchors(64, 64)
    size = len(anchors.points)
    predictions = Predictions(torch.zeros(1, size, 2), anchors.boxes[None].clone())
    truth = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    losses = FreeAnchorLoss()(predictions, anchors, [truth])
    assert losses["positive"].item() == 0
    assert losses["negative"].item() == pytest.approx(0.5 * size * 2 * math.log(2) / 4)


@pytest.mark.parametrize(("mean", "divisor"), [(0.0, 1), (0.01, 1), (0.1, 5), (0.5, 25), (3.0, 150)])
def test_the_divisor_is_at_least_1(
    mean: float, divisor: float, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mean` objects on an average rank, none on this one."""
    problem = random_problem(generator, 0, 2)
    alone = FreeAnchorLoss()(*problem)["negative"]
    monkeypatch.setattr("otadet.losses.common.mean_over_ranks", lambda count: torch.full_like(count, mean))
    torch.testing.assert_close(FreeAnchorLoss()(*problem)["negative"] * divisor, alone)


def test_extreme_predictions_give_a_finite_loss_and_gradient(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3)
    signs = torch.where(torch.rand(predictions.logits.shape, generator=generator) < 0.5, -50.0, 50.0).requires_grad_()
    quality = torch.where(predictions.quality < 0, -50.0, 50.0).requires_grad_()
    boxes = torch.cat((anchors.points, anchors.points), -1)[None].clone().requires_grad_()
    losses = FreeAnchorLoss()(Predictions(signs, boxes, quality), anchors, truths)
    sum(losses.values()).backward()
    for tensor in (*losses.values(), signs.grad, quality.grad, boxes.grad):
        assert tensor.isfinite().all()


def test_the_order_of_the_objects_does_not_matter(generator: torch.Generator) -> None:
    predictions, anchors, (truth,) = random_problem(generator, 12, 3)
    order = torch.randperm(12, generator=generator)
    straight = FreeAnchorLoss()(predictions, anchors, [truth])
    permuted = FreeAnchorLoss()(predictions, anchors, [GroundTruth(truth.boxes[order], truth.labels[order])])
    for name, value in straight.items():
        torch.testing.assert_close(permuted[name], value)


def test_half_precision_gives_the_loss_of_the_same_values_in_float32(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3)
    half = Predictions(predictions.logits.bfloat16(), predictions.boxes, predictions.quality.bfloat16())
    full = Predictions(half.logits.float(), half.boxes, half.quality.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        in_half = FreeAnchorLoss()(half, anchors, truths)
    for name, value in FreeAnchorLoss()(full, anchors, truths).items():
        assert torch.equal(in_half[name], value)


@pytest.mark.parametrize("sizes", [[3, 0, 5], [0, 0]], ids=str)
def test_does_not_wait_for_the_device(sizes: list[int]) -> None:
    with FakeTensorMode():
        losses = FreeAnchorLoss()(*fake_problem(sizes))
    for loss in losses.values():
        assert (loss.device.type, loss.dtype, loss.shape) == ("cuda", torch.float32, ())
