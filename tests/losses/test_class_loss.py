"""The class losses against their formulas, one logit at a time, and as parts of the detection loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.assigners import Assigner, DSLAAssigner, OTAAssigner, TaskAlignedAssigner
from otadet.errors import UserError
from otadet.losses import BCE, MAL, QFL, VFL, ClassLoss, DetectionLoss, FocalLoss
from otadet.profiling.meters import metered
from otadet.structures import BACKGROUND, IGNORED, Assignment, GroundTruth, Predictions
from tests.helpers.counting import fake_problem
from tests.helpers.problems import random_problem

LOSSES = [FocalLoss(), QFL(), VFL(), MAL(), BCE(), QFL(1.0), VFL(0.5, 1.0), MAL(3.0), FocalLoss(0.5, 0.0)]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)


def entropy(s: float, y: float) -> float:
    return -(y * math.log(s) if y else 0) - ((1 - y) * math.log(1 - s) if y < 1 else 0)


FORMULAS: dict[type, Callable[..., float]] = {
    QFL: lambda s, y, beta=2.0: abs(y - s) ** beta * entropy(s, y),
    VFL: lambda s, y, alpha=0.75, gamma=2.0: y * entropy(s, y) if y else alpha * s**gamma * entropy(s, 0),
    MAL: lambda s, y, gamma=1.5: entropy(s, y**gamma) if y else s**gamma * entropy(s, 0),
    BCE: entropy,
    FocalLoss: lambda s, y, alpha=0.25, gamma=2.0: (
        (alpha * y + (1 - alpha) * (1 - y)) * abs(y - s) ** gamma * entropy(s, y)
    ),
}
"""Loss of the probability s against the score y of a positive anchor; 0 where it is none."""


@every_loss
def test_is_its_formula(loss: ClassLoss) -> None:
    formula = FORMULAS[type(loss)]
    for logit in (-6.0, -0.7, 0.0, 2.5):
        s, x = 1 / (1 + math.exp(-logit)), torch.tensor([logit])
        assert loss.negative(x).item() == pytest.approx(formula(s, 0.0, **vars(loss)), rel=1e-5)
        assert loss.positive(x, None).item() == pytest.approx(formula(s, 1.0, **vars(loss)), rel=1e-5)
        for y in (1e-3, 0.3, s, 0.9, 1.0):
            found = loss.positive(x, torch.tensor([y])).item()
            assert found == pytest.approx(formula(s, y, **vars(loss)), rel=1e-4, abs=1e-7)


@every_loss
def test_the_difference_is_that_of_the_two(loss: ClassLoss) -> None:
    logits = torch.linspace(-5, 5, 11)
    for score in (None, torch.linspace(0, 1, 11)):
        expected = loss.positive(logits, score) - loss.negative(logits)
        torch.testing.assert_close(loss.difference(logits, score), expected)


@every_loss
def test_a_positive_of_score_0_is_trained_as_any_other(loss: ClassLoss) -> None:
    logits = torch.linspace(-5, 5, 11)
    torch.testing.assert_close(loss.positive(logits, torch.zeros(11)), loss.negative(logits))


@every_loss
def test_extreme_logits_have_finite_losses_and_gradients(loss: ClassLoss) -> None:
    logits = torch.tensor([-1e4, -200.0, -110.0, -50.0, 0.0, 50.0, 110.0, 200.0, 1e4], requires_grad=True)
    for score in (0.0, 0.3, 1.0):
        total = loss.positive(logits, torch.full_like(logits, score)) + loss.positive(logits, None)
        total = total + loss.negative(logits)
        (gradient,) = torch.autograd.grad(total.sum(), logits)
        assert total.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "make", [lambda: QFL(0.5), lambda: FocalLoss(gamma=0.3), lambda: VFL(alpha=2.0), lambda: MAL(-1)]
)
def test_impossible_settings(make: Callable[[], ClassLoss]) -> None:
    with pytest.raises(UserError, match=r"^\w+: (alpha|beta|gamma) "):
        make()


class Fixed(Assigner):
    """Gives the answer it was made with."""

    def __init__(self, gt_index: Tensor, score: Tensor | None = None, weight: Tensor | None = None) -> None:
        self.answer = Assignment(gt_index, torch.zeros_like(gt_index, dtype=torch.bool), score, weight)

    def assign(self, predictions, anchors, truth) -> Assignment:
        return self.answer


@every_loss
@pytest.mark.parametrize("is_soft", [True, False])
@pytest.mark.parametrize("is_weighted", [True, False])
def test_in_the_detection_loss(loss: ClassLoss, is_soft: bool, is_weighted: bool, generator: torch.Generator) -> None:
    """A plain loop over anchors and classes, over the sum of the scores, or the number of positives."""
    predictions, anchors, truths = random_problem(generator, 4, 3, 64, 64, num_images=2)
    gt_index = OTAAssigner()(predictions, anchors, truths).gt_index
    gt_index[0, :3] = IGNORED
    # What is said of anchors that are nobody's must not matter.
    score = torch.rand(gt_index.shape, generator=generator).masked_fill(gt_index < 0, torch.nan)
    weight = torch.rand(gt_index.shape, generator=generator)
    rule = Fixed(gt_index, score if is_soft else None, weight if is_weighted else None)
    found = DetectionLoss(rule, class_loss=loss)(predictions, anchors, truths)["cls"]
    total = number = 0.0
    for image, anchor in (gt_index >= BACKGROUND).nonzero().tolist():
        row = int(gt_index[image, anchor])
        y = 0.0 if row < 0 else float(score[image, anchor]) if is_soft else 1.0
        number += y
        for label, s in enumerate(predictions.logits[image, anchor].double().sigmoid().tolist()):
            is_hit = row >= 0 and int(truths[image].labels[row]) == label
            value = FORMULAS[type(loss)](s, y if is_hit else 0.0, **vars(loss))
            total += value * (float(weight[image, anchor]) if is_weighted else 1.0)
    assert found.item() == pytest.approx(total / max(1.0, number), rel=1e-4)


def test_boxes_and_qualities_count_by_their_scores(generator: torch.Generator) -> None:
    """A score of 0 is no positive at all for them; the same score everywhere changes nothing."""
    predictions, anchors, truths = random_problem(generator, 5, 3)
    gt_index = OTAAssigner()(predictions, anchors, truths).gt_index
    hard = DetectionLoss(Fixed(gt_index))(predictions, anchors, truths)
    same = DetectionLoss(Fixed(gt_index, torch.full(gt_index.shape, 0.5)))(predictions, anchors, truths)
    chosen = torch.rand(gt_index.shape, generator=generator) < 0.5
    some = DetectionLoss(Fixed(gt_index, chosen.float()))(predictions, anchors, truths)
    fewer = DetectionLoss(Fixed(gt_index.masked_fill(~chosen, BACKGROUND)))(predictions, anchors, truths)
    for name in ("box", "quality"):
        torch.testing.assert_close(same[name], hard[name])
        torch.testing.assert_close(some[name], fewer[name])
    weighted = DetectionLoss(Fixed(gt_index, chosen.float()), box_weighting="quality")(predictions, anchors, truths)
    fewer = DetectionLoss(Fixed(gt_index.masked_fill(~chosen, BACKGROUND)), box_weighting="quality")
    torch.testing.assert_close(weighted["box"], fewer(predictions, anchors, truths)["box"])


@every_loss
@pytest.mark.parametrize("rule", [DSLAAssigner(), TaskAlignedAssigner(soft=True)], ids=["dsla", "tal"])
def test_with_a_soft_rule_half_precision_and_an_image_without_boxes(
    rule: Assigner, loss: ClassLoss, generator: torch.Generator
) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3, num_images=2)
    truths[1] = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    half = Predictions(predictions.logits.bfloat16(), predictions.boxes.bfloat16(), predictions.quality.bfloat16())
    half.logits.requires_grad_()
    half.boxes.requires_grad_()
    losses = DetectionLoss(rule, class_loss=loss)(half, anchors, truths)
    full = Predictions(half.logits.float(), half.boxes.float(), half.quality.float())
    for name, value in DetectionLoss(rule, class_loss=loss)(full, anchors, truths).items():
        assert losses[name].dtype == torch.float32
        assert torch.equal(losses[name], value)
    sum(losses.values()).backward()
    assert half.logits.grad is not None
    assert half.logits.grad.isfinite().all()
    assert half.boxes.grad is not None
    assert half.boxes.grad[1].abs().sum() == 0
    empty = DetectionLoss(rule, class_loss=loss)(predictions, anchors, [truths[1]] * 2)
    assert empty["cls"].item() > 0
    assert empty["box"].item() == 0


@every_loss
@pytest.mark.parametrize("rule", [DSLAAssigner(), TaskAlignedAssigner(soft=True)], ids=["dsla", "tal"])
def test_does_not_wait_for_the_device(rule: Assigner, loss: ClassLoss) -> None:
    with FakeTensorMode():
        for sizes in ([3, 0, 5], [0, 0]):
            for value in DetectionLoss(rule, class_loss=loss)(*fake_problem(sizes, dtype=torch.float16)).values():
                assert (value.device.type, value.dtype, value.shape) == ("cuda", torch.float32, ())


@every_loss
def test_needs_no_more_memory_than_the_focal_loss(loss: ClassLoss, generator: torch.Generator) -> None:
    """No (N, A, C) targets: what each keeps for the gradient is some factors of every logit."""
    logits = torch.randn(2, 1000, 80, generator=generator)
    index = torch.full((2, 1000), BACKGROUND)
    index[:, :10] = 0
    _, anchors, truths = random_problem(generator, 1, 80, num_images=2)
    anchors = type(anchors)(anchors.points[:1000], anchors.boxes[:1000], anchors.strides[:1000], ((25, 40),))

    def peak(class_loss: ClassLoss) -> int:
        predictions = Predictions(logits.clone().requires_grad_(), torch.rand(2, 1000, 4))
        whole = DetectionLoss(Fixed(index, torch.ones(index.shape)), class_loss=class_loss)
        return metered(lambda: whole(predictions, anchors, truths)["cls"].backward(), torch.device("cpu")).peak

    assert peak(loss) <= 1.02 * peak(FocalLoss())
