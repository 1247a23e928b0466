"""The gradient of a batch is the same in parts, whatever its loss is divided by."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.assigners import DSLAAssigner, OTAAssigner, SimOTAAssigner, TaskAlignedAssigner
from otadet.engine.accumulation import Accumulation
from otadet.engine.guard import NonFiniteError
from otadet.engine.stop import StopRequest
from otadet.engine.train_step import TrainStep
from otadet.errors import UserError
from otadet.losses import QFL, DetectionLoss, FreeAnchorLoss, YOLOXLoss, centerness_target
from tests.helpers.small_detector import SmallDetector, crowded_batch
from tests.helpers.toy_training import CPU, Scale

BOXES = [4, 0, 0, 0, 1, 7]
"""Of six images: parts have none, one or many."""


@dataclass(frozen=True)
class Same:
    """An optimizer's step of length 1 along the gradient."""

    step: TrainStep

    @classmethod
    def of(cls, loss: nn.Module, accumulate: int, *, detector: dict | None = None, **options) -> Same:
        torch.manual_seed(0)
        model = SmallDetector(**(detector or {}))
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        return cls(
            TrainStep(model, loss, optimizer, lambda iteration: 1.0, Scale(), CPU, accumulate=accumulate, **options)
        )

    def gradient(self, boxes: list[int] = BOXES) -> tuple[torch.Tensor, dict[str, float]]:
        """Of one step, of all weights, and its losses."""
        model = self.step.model
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        torch.manual_seed(5)
        result = self.step(crowded_batch(boxes), 0, StopRequest())
        after = nn.utils.parameters_to_vector(model.parameters()).detach()
        return before - after, {name: term.item() for name, term in result.losses.items()}


def yolox(rule) -> YOLOXLoss:
    loss = YOLOXLoss(rule)
    loss.at_progress(1.0)
    return loss


LOSSES = {
    "ota": lambda: DetectionLoss(OTAAssigner()),
    "by centre-ness": lambda: DetectionLoss(
        SimOTAAssigner(), quality_target=centerness_target, box_weighting="quality"
    ),
    "by iou and scores": lambda: DetectionLoss(DSLAAssigner(), class_loss=QFL(), box_weighting="quality"),
    "dsla": lambda: DetectionLoss(DSLAAssigner(), class_loss=QFL()),
    "yolox": lambda: yolox(SimOTAAssigner.yolox()),
    "yolox and scores": lambda: yolox(TaskAlignedAssigner(soft=True)),
    "free anchor": lambda: FreeAnchorLoss(bag_size=5, alpha=0.3),
}


@pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("boxes", [BOXES, [0] * 6, [0, 0, 0, 0, 0, 3]], ids=str)
def test_parts_have_the_gradient_and_the_losses_of_the_batch(make, boxes: list[int]) -> None:
    whole, losses = Same.of(make(), 1).gradient(boxes)
    assert whole.abs().max() > 1e-4
    for number in (2, 3, 6):
        parts, same = Same.of(make(), number).gradient(boxes)
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5 * whole.abs().max().item())
        assert same == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES.keys())
def test_a_mean_of_the_parts_losses_would_be_another(make) -> None:
    """Or the test above would prove nothing."""
    whole, _ = Same.of(make(), 1).gradient()
    parts = [Same.of(make(), 1) for _ in range(2)]
    halves = torch.zeros_like(whole)
    for number, part in enumerate(parts):
        step, batch = part.step, crowded_batch(BOXES).parts(2)[number]
        before = nn.utils.parameters_to_vector(step.model.parameters()).detach().clone()
        step(batch, 0, StopRequest())
        halves += (before - nn.utils.parameters_to_vector(step.model.parameters()).detach()) / 2
    assert (halves - whole).abs().max() > 0.01 * whole.abs().max()


def test_which_losses_have_one_divisor() -> None:
    assert {name: make().has_one_divisor for name, make in LOSSES.items()} == {
        "ota": True,
        "by centre-ness": False,
        "by iou and scores": False,
        "dsla": True,
        "yolox": True,
        "yolox and scores": False,
        "free anchor": False,
    }
    assert not YOLOXLoss(TaskAlignedAssigner(soft=True)).has_one_divisor
    assert YOLOXLoss(TaskAlignedAssigner()).has_one_divisor


@dataclass(frozen=True)
class Lying(DSLAAssigner):
    gives_scores = False


def test_a_rule_that_hides_its_scores_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gives scores, though its gives_scores is False"):
        Same.of(yolox(Lying()), 2).gradient()


@pytest.mark.parametrize("grad_clip", [None, 0.01])
@pytest.mark.parametrize("amp_dtype", [None, torch.float16])
def test_scaling_and_clipping_see_the_gradient_of_the_batch(grad_clip, amp_dtype) -> None:
    options = {"grad_clip": grad_clip, "amp_dtype": amp_dtype}
    whole, parts = (Same.of(LOSSES["ota"](), number, **options) for number in (1, 3))
    if amp_dtype is not None:
        for each in (whole, parts):
            each.step.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    found, _ = parts.gradient()
    tolerance = 1e-5 if amp_dtype is None else 0.02
    torch.testing.assert_close(found, whole.gradient()[0], rtol=0, atol=tolerance * found.abs().max().item())
    if grad_clip is not None:
        assert found.norm().item() == pytest.approx(grad_clip, rel=1e-3)
    assert whole.step.scaler.get_scale() == parts.step.scaler.get_scale()


@pytest.mark.parametrize("name", ["ota", "by centre-ness"])
def test_batch_norms_count_each_image_once_and_see_a_part_at_a_time(name: str) -> None:
    """Also where the parts are gone through twice."""
    step = Same.of(LOSSES[name](), 3, detector={"norm": True})
    step.gradient()
    norm = step.step.model.body[1]
    assert norm.num_batches_tracked.item() == 3
    alone = SmallDetector(norm=True)
    torch.manual_seed(0)
    alone = SmallDetector(norm=True).train()
    for part in crowded_batch(BOXES).parts(3):
        alone(Scale()(part.images))
    torch.testing.assert_close(norm.running_mean, alone.body[1].running_mean)
    torch.testing.assert_close(norm.running_var, alone.body[1].running_var)


def test_assigning_beforehand_draws_the_same_dropout() -> None:
    """The same loss, once as one with several divisors."""

    class Several(DetectionLoss):
        has_one_divisor = False

        def sums(self, predictions, anchors, truths):
            self.box_weighting = "none"
            return super().sums(predictions, anchors, truths)

        def _sums(self, *arguments):
            type(self).has_one_divisor = True
            try:
                return super()._sums(*arguments)
            finally:
                type(self).has_one_divisor = False

        def divisors(self, amounts):
            return dict.fromkeys(self.terms, amounts[0].clamp(min=1))

    detector = {"dropout": 0.5}
    one, _ = Same.of(DetectionLoss(OTAAssigner()), 3, detector=detector).gradient()
    state = torch.get_rng_state()
    several, _ = Same.of(Several(OTAAssigner()), 3, detector=detector).gradient()
    torch.testing.assert_close(several, one, rtol=1e-4, atol=1e-6)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_that_is_not_finite_in_any_part_names_all_images() -> None:
    class Bad(DetectionLoss):
        def sums(self, predictions, anchors, truths):
            sums = super().sums(predictions, anchors, truths)
            if len(truths[0].boxes) == 4:
                sums.terms["box"] = sums.terms["box"] * torch.nan
            return sums

    step = Same.of(Bad(OTAAssigner()), 3).step
    before = {name: weight.clone() for name, weight in step.model.state_dict().items()}
    with pytest.raises(NonFiniteError, match=r"box nan[^$]*image 0.png, image 1.png, .*image 5.png"):
        step(crowded_batch(BOXES), 0, StopRequest())
    assert all(torch.equal(weight, before[name]) for name, weight in step.model.state_dict().items())


class Own(nn.Module):
    def forward(self, predictions, anchors, truths):
        return {"mine": predictions.boxes.mean()}


class Changed(DetectionLoss):
    def forward(self, predictions, anchors, truths):
        return {name: 2 * term for name, term in super().forward(predictions, anchors, truths).items()}


@pytest.mark.parametrize("loss", [Own(), Changed(OTAAssigner())], ids=["own", "changed"])
def test_a_loss_that_cannot_be_added_up_is_refused(loss: nn.Module) -> None:
    Same.of(loss, 1).gradient()
    with pytest.raises(UserError, match=f"run.accumulate: {type(loss).__name__} does not say what its terms are div"):
        Same.of(loss, 2)


def test_a_batch_has_equal_parts() -> None:
    batch = crowded_batch(BOXES)
    parts = batch.parts(3)
    assert [part.file_names for part in parts] == [batch.file_names[start : start + 2] for start in (0, 2, 4)]
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    for number in (4, 7):
        with pytest.raises(ValueError, match=f"no {number} equal parts"):
            batch.parts(number)


@pytest.mark.parametrize("name", ["ota", "by centre-ness", "yolox", "yolox and scores", "free anchor"])
def test_nothing_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The generator, and the queue of backward passes, of a GPU that is not there.
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())

    def backward(loss: torch.Tensor) -> None:
        assert loss.is_cuda
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    cuda = torch.device("cuda")
    with FakeTensorMode():
        with cuda:
            model = SmallDetector()
        accumulation = Accumulation(model, model, LOSSES[name](), cuda)
        batch = crowded_batch(BOXES).to(cuda)
        accumulation.backward(
            batch.parts(3),
            lambda network, part: network(part.images.float()),
            lambda loss: loss,
            lambda losses: losses,
            torch.optim.SGD(model.parameters()),
        )
        assert all(parameter.grad is not None for parameter in model.parameters())
