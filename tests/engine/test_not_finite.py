"""Losses, gradients and weights that are not finite, or only too large."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from otadet.engine.checkpoint import load_checkpoint
from otadet.engine.guard import NonFiniteError
from otadet.errors import UserError
from otadet.optim.optimizer import SGD, AdamW
from tests.helpers.toy_runs import CallAt, assert_equal, make_nan
from tests.helpers.toy_training import ToyLoss, ToyModel, toy_trainer


def test_a_non_finite_loss_stops_the_run_and_touches_nothing(tmp_path):
    trainer = toy_trainer(tmp_path, loss=CallAt(5, make_nan), save_every=1, ema_decay=0.9)
    with pytest.raises(NonFiniteError, match="iteration 5") as caught:
        trainer.train()
    assert "near 0." in str(caught.value)
    assert "far nan" in str(caught.value)
    assert "weights were not touched" in str(caught.value)
    assert str(caught.value).endswith("last.pth is whole and has iteration 4: --resume goes on from there")
    assert "image 16.png, image 17.png, image 18.png, image 19.png" in str(caught.value)
    saved = load_checkpoint(trainer.last_checkpoint)
    assert saved["iteration"] == 4
    assert_equal(trainer.step.model.state_dict(), saved["model"])
    assert isinstance(caught.value, UserError)


class Cliff(ToyLoss):
    """Finite at any finite point; in its n-th call the gradient of one output is `slope`."""

    def __init__(self, call: int, slope: float) -> None:
        super().__init__()
        self.left, self.slope = call, slope

    def forward(self, predictions, anchors, truths):
        terms = super().forward(predictions, anchors, truths)
        self.left -= 1
        if self.left == 0:
            output = predictions[0, 0].clone()
            output.register_hook(lambda gradient: torch.full_like(gradient, self.slope))
            terms["far"] = terms["far"] + 0 * output
        return terms


@pytest.mark.parametrize("slope", [torch.inf, torch.nan, 1e25, -1e25])
@pytest.mark.parametrize(("optimizer", "fused"), [("sgd", False), ("adamw", False), ("sgd", True), ("adamw", True)])
def test_a_gradient_that_is_not_finite_touches_nothing(tmp_path, slope, optimizer, fused):
    """Fused optimizers leave the update out by themselves, as on CUDA; the host hears of it later."""
    model = ToyModel()
    chosen = {"sgd": SGD, "adamw": AdamW}[optimizer](lr=0.1, weight_decay=0.0, weight_decay_on="all").build(model)
    for group in chosen.param_groups:
        group["fused"] = fused
    chosen._step_supports_amp_scaling = fused
    trainer = toy_trainer(tmp_path, model=model, optimizer=chosen, loss=Cliff(5, slope), save_every=1)
    with pytest.raises(NonFiniteError, match=r"gradient is not finite.* in iteration 5") as caught:
        trainer.train()
    assert "image 16.png, image 17.png, image 18.png, image 19.png" in str(caught.value)
    saved = load_checkpoint(trainer.last_checkpoint)
    assert saved["iteration"] == 4
    assert_equal(trainer.step.model.state_dict(), saved["model"])


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_of_the_last_iteration_is_noticed_too(tmp_path, fused):
    model = ToyModel()
    chosen = SGD(lr=0.1, weight_decay=0.0, weight_decay_on="all").build(model)
    chosen.param_groups[0]["fused"] = chosen._step_supports_amp_scaling = fused
    with pytest.raises(NonFiniteError, match=r"(?s)in iteration 8.*\nThe run has saved no checkpoint yet$"):
        toy_trainer(tmp_path, model=model, optimizer=chosen, loss=Cliff(8, torch.inf)).train()
    assert not (tmp_path / "last.pth").exists()


def test_weights_that_were_not_finite_before_are_told_from_a_bad_batch(tmp_path):
    trainer = toy_trainer(tmp_path)
    next(trainer.step.model.parameters()).data.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="weights were not finite before"):
        trainer.train()
    assert not list(tmp_path.glob("*.pth"))


def test_a_gradient_that_is_only_too_large_is_clipped(tmp_path):
    def step(name: str, slope: float) -> torch.Tensor:
        torch.manual_seed(0)
        model = ToyModel(dropout=0.0)
        before = nn.utils.parameters_to_vector(model.parameters()).detach()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        trainer = toy_trainer(
            tmp_path / name, model=model, optimizer=optimizer, loss=Cliff(1, slope), grad_clip=0.5, iterations=1
        )
        trainer.step.schedule = lambda iteration: 1.0
        trainer.train()
        return nn.utils.parameters_to_vector(model.parameters()).detach() - before

    assert torch.allclose(step("large", 1e25), step("usual", 1e10), rtol=1e-4, atol=1e-7)
    assert step("again", 1e25).norm().item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda step: next(step.ema.model.parameters()), "an averaged weight"),
        (lambda step: next(iter(step.optimizer.state.values()))["exp_avg_sq"], "one of the optimizer's averages"),
    ],
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_averages_that_are_not_finite_are_not_saved(tmp_path, part, message, value):
    model = ToyModel()
    trainer = toy_trainer(
        tmp_path,
        model=model,
        optimizer=AdamW(lr=0.1, weight_decay=0.0, weight_decay_on="all").build(model),
        ema_decay=0.9,
    )
    trainer.train()
    before = trainer.last_checkpoint.read_bytes()
    part(trainer.step).data.view(-1)[-1] = value
    with pytest.raises(NonFiniteError, match=rf"{message}.* is not finite.*last\.pth is whole and has iteration 8"):
        trainer.save()
    assert trainer.last_checkpoint.read_bytes() == before


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    trainer = toy_trainer(tmp_path)
    trainer.save()
    before = trainer.last_checkpoint.read_bytes()
    with torch.no_grad():
        next(trainer.step.model.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="a weight is not finite"):
        trainer.save()
    assert trainer.last_checkpoint.read_bytes() == before


def test_an_fp16_gradient_that_overflows_is_left_out(tmp_path):
    class Steep(ToyLoss):
        def forward(self, predictions, anchors, truths):
            return {name: 100 * term for name, term in super().forward(predictions, anchors, truths).items()}

    trainer = toy_trainer(tmp_path, loss=Steep(), amp_dtype=torch.float16, iterations=1)
    before = {name: tensor.clone() for name, tensor in trainer.step.model.state_dict().items()}
    scale = trainer.step.scaler.get_scale()
    assert trainer.train()
    assert_equal(trainer.step.model.state_dict(), before)
    assert trainer.step.scaler.get_scale() < scale


def test_the_gradient_is_clipped(tmp_path):
    model = ToyModel()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = toy_trainer(tmp_path, model=model, optimizer=optimizer, grad_clip=0.01, iterations=1)
    trainer.step.schedule = lambda iteration: 1.0
    trainer.train()
    step = sum((now - then).square().sum() for now, then in zip(model.parameters(), before, strict=True)).sqrt()
    assert step.item() == pytest.approx(0.01, rel=1e-3)
