"""YOLOX's loss against the same written element by element."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.assigners import Assigner, DSLAAssigner, OTAAssigner, TaskAlignedAssigner
from otadet.assigners.base import PaddedTruth
from otadet.losses import BCE, QFL, VFL, ClassLoss, FocalLoss, YOLOXLoss
from otadet.models import AnchorGrid
from otadet.structures import BACKGROUND, IGNORED, Anchors, Assignment, GroundTruth, Predictions
from tests.helpers.counting import fake_problem
from tests.helpers.problems import random_problem

GT_INDEX = torch.tensor([[0, BACKGROUND, 1, IGNORED]])
LABELS = [1, 0]
BOXES = [[0.0, 0, 8, 8], [12.0, 0, 26, 10]]


@dataclass(frozen=True)
class Fixed(Assigner):
    """The same answer to everything."""

    score: Tensor | None = None
    weight: Tensor | None = None

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        return Assignment(GT_INDEX, torch.zeros_like(GT_INDEX, dtype=torch.bool), self.score, self.weight)


def problem() -> tuple[Predictions, Anchors, list[GroundTruth]]:
    anchors = AnchorGrid((8,))([torch.empty(1, 1, 1, 4)])
    rng = torch.Generator().manual_seed(0)
    logits, quality = torch.randn(1, 4, 3, generator=rng), torch.randn(1, 4, generator=rng)
    boxes = torch.tensor([[[1.0, 1, 9, 7], [0, 0, 1, 1], [10, 1, 24, 9], [0, 0, 3, 3]]])
    return Predictions(logits, boxes, quality), anchors, [GroundTruth(torch.tensor(BOXES), torch.tensor(LABELS))]


def overlap(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inside / (sum(areas) - inside)


def entropy(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def by_hand(predictions: Predictions, *, score: float | None = None) -> dict[str, float]:
    """With a score at both positives: over their sum, which is below 1, but for the objectness."""
    assert predictions.quality is not None
    terms = {"cls": 0.0, "box": 0.0, "quality": 0.0, "l1": 0.0}
    for anchor, row in enumerate(GT_INDEX[0].tolist()):
        if row == IGNORED:
            continue
        terms["quality"] += entropy(predictions.quality[0, anchor].item(), float(row >= 0))
        if row < 0:
            continue
        predicted, true = predictions.boxes[0, anchor].tolist(), BOXES[row]
        u = overlap(predicted, true)
        terms["box"] += 5 * (1 - u * u) * (1 if score is None else score)
        for label, logit in enumerate(predictions.logits[0, anchor].tolist()):
            terms["cls"] += entropy(logit, (u if score is None else score) if label == LABELS[row] else 0.0)
        for axis in (0, 1):
            centers = [(box[axis] + box[axis + 2]) / 2 for box in (predicted, true)]
            sides = [box[axis + 2] - box[axis] for box in (predicted, true)]
            distance = abs(centers[0] - centers[1]) / 8 + abs(math.log(sides[0] / sides[1]))
            terms["l1"] += distance * (1 if score is None else score)
    total = 2 if score is None else max(1.0, 2 * score)
    return {name: term / (2 if name == "quality" else total) for name, term in terms.items()}


def test_every_term_is_that_of_the_description() -> None:
    predictions, anchors, truths = problem()
    loss = YOLOXLoss(Fixed())
    loss.at_progress(0.95)
    found = {name: term.item() for name, term in loss(predictions, anchors, truths).items()}
    assert found == pytest.approx(by_hand(predictions), rel=1e-5)


@pytest.mark.parametrize("kind", [BCE(), QFL(), VFL(), FocalLoss()], ids=str)
def test_the_class_loss_is_a_part_of_it(kind: ClassLoss) -> None:
    """Positive anchors alone: their class against the IoU, or the score, and the others against 0."""
    predictions, anchors, truths = problem()
    for score in (None, 0.8):
        expected = 0.0
        for anchor, row in ((0, 0), (2, 1)):
            u = overlap(predictions.boxes[0, anchor].tolist(), BOXES[row])
            for label, logit in enumerate(predictions.logits[0, anchor]):
                target = torch.tensor(u if score is None else score)
                expected += (kind.positive(logit, target) if label == LABELS[row] else kind.negative(logit)).item()
        fixed = Fixed(score=None if score is None else torch.full((1, 4), score))
        found = YOLOXLoss(fixed, class_loss=kind)(predictions, anchors, truths)["cls"].item()
        assert found == pytest.approx(expected / (2 if score is None else 1.6), rel=1e-5)


def test_the_distance_counts_in_the_last_part_alone() -> None:
    predictions, anchors, truths = problem()
    loss = YOLOXLoss(Fixed(), l1_from=0.5)
    for progress, counts in ((0.0, False), (0.49, False), (0.5, True), (0.99, True)):
        loss.at_progress(progress)
        assert (loss(predictions, anchors, truths)["l1"].item() > 0) == counts


def test_scores_and_weights_of_an_assignment_are_honoured() -> None:
    predictions, anchors, truths = problem()
    for score in (0.3, 0.8):
        loss = YOLOXLoss(Fixed(score=torch.full((1, 4), score)))
        loss.at_progress(1.0)
        found = {name: term.item() for name, term in loss(predictions, anchors, truths).items()}
        assert found == pytest.approx(by_hand(predictions, score=score), rel=1e-5)
    nothing = YOLOXLoss(Fixed(weight=torch.zeros(1, 4)))(predictions, anchors, truths)
    assert all(term.item() == 0 for term in nothing.values())


@pytest.mark.parametrize("rule", [OTAAssigner(), DSLAAssigner(), TaskAlignedAssigner(soft=True)], ids=str)
def test_does_not_wait_for_the_device(rule: Assigner) -> None:
    loss = YOLOXLoss(rule)
    loss.at_progress(1.0)
    with FakeTensorMode():
        for sizes in ([3, 0, 5], [0, 0]):
            for value in loss(*fake_problem(sizes, dtype=torch.float16)).values():
                assert (value.device.type, value.dtype, value.shape) == ("cuda", torch.float32, ())


@pytest.mark.parametrize("rule", [OTAAssigner(), DSLAAssigner()], ids=["hard", "soft"])
def test_ranks_with_and_without_boxes_have_the_loss_of_the_batch_together(
    rule: Assigner, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean of two ranks' losses is that of the batch, per rank; both wait for sums of the same shape."""
    predictions, anchors, (truth,) = random_problem(generator, 6, 4)
    whole = Predictions(*(torch.cat((part, part)) for part in vars(predictions).values()))
    empty = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    loss, sums = YOLOXLoss(rule), []
    expected = loss(whole, anchors, [truth, empty])
    monkeypatch.setattr("otadet.losses.common.mean_over_ranks", lambda found: sums.append(found) or found)
    for truths in ([truth], [empty]):
        loss(predictions, anchors, truths)
    assert len(sums) == 2
    monkeypatch.setattr("otadet.losses.common.mean_over_ranks", lambda found: (sums[0] + sums[1]) / 2)
    parts = [loss(predictions, anchors, truths) for truths in ([truth], [empty])]
    for name, value in expected.items():
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)


def test_gradients_are_finite_and_leave_other_boxes_alone() -> None:
    predictions, anchors, truths = problem()
    boxes = predictions.boxes.requires_grad_()
    loss = YOLOXLoss(Fixed())
    loss.at_progress(1.0)
    sum(loss(predictions, anchors, truths).values()).backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()
    assert boxes.grad[0, [1, 3]].abs().sum() == 0


def test_an_objectness_is_needed() -> None:
    predictions, anchors, truths = problem()
    with pytest.raises(ValueError, match="objectness"):
        YOLOXLoss(Fixed())(replace(predictions, quality=None), anchors, truths)
