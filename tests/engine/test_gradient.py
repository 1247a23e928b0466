"""The gradient as a whole: its norm, clipping of any length, finite or not."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.engine.gradient import all_finite, clip_gradient, gradient_norm


def parameters_with(*gradients: torch.Tensor) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    return parameters


def test_the_norm_is_that_of_all_parameters_together():
    parameters = parameters_with(torch.tensor([3.0]), torch.tensor([[0.0, 4.0]]), torch.zeros(0))
    assert gradient_norm(parameters).item() == pytest.approx(5)
    assert gradient_norm([]).item() == 0


@pytest.mark.parametrize("value", [torch.inf, torch.nan, 1e25, -1e25])
def test_a_norm_that_float32_does_not_hold_is_not_finite(value):
    assert not gradient_norm(parameters_with(torch.tensor([1.0, value]))).isfinite()


def test_usual_gradients_are_clipped_bit_for_bit_as_torch_clips_them(generator):
    gradients = [torch.randn(7, 5, generator=generator), torch.randn(3, generator=generator)]
    ours, theirs = parameters_with(*gradients), parameters_with(*gradients)
    clip_gradient(ours, 0.1)
    nn.utils.clip_grad_norm_(theirs, 0.1)
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("scale", [1e10, 1e25, 1e38])
def test_a_clipped_gradient_keeps_its_direction(scale):
    parameters = parameters_with(torch.tensor([0.6 * scale]), torch.tensor([-0.8 * scale]))
    assert clip_gradient(parameters, 2.0).isfinite()
    assert [parameter.grad.item() for parameter in parameters] == pytest.approx([1.2, -1.6])


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_clipping_reports_what_is_not_finite(value):
    assert not clip_gradient(parameters_with(torch.tensor([1.0, value]), torch.ones(2)), 1.0).isfinite()


def test_nothing_waits_for_the_device():
    with FakeTensorMode(allow_non_fake_inputs=True):
        for measure in (gradient_norm, lambda parameters: clip_gradient(parameters, 1.0)):
            parameters = parameters_with(torch.empty(3, 2, device="cuda"), torch.empty(4, device="cuda"))
            assert measure(parameters).device.type == "cuda"


def test_what_is_finite():
    assert all_finite([])
    assert all_finite(
        [torch.zeros(0), torch.tensor(3), torch.full((2,), 1e38), torch.tensor(1e300, dtype=torch.float64)]
    )
    for value in (torch.inf, -torch.inf, torch.nan):
        assert not all_finite([torch.ones(3), torch.tensor([[1.0, value]])])
        assert not all_finite([torch.tensor([value], dtype=torch.bfloat16)])
