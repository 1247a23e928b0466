"""The gradient as a whole: its length, clipping that no gradient is too long for, and whether numbers are finite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

_LARGE = 1e12
"""Of numbers up to this even 1e14 squares sum up to what float32 holds."""


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Those that have a gradient."""
    groups = optimizer.param_groups
    return [parameter for group in groups for parameter in group["params"] if parameter.grad is not None]


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """() length of the gradient of all parameters together, on their device.

    Infinite from 1.8e19 on, as its square is then too large for float32, and with it AdamW's second moment.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def clip_gradient(parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
    """Shorten the gradient of all parameters together to `limit`, if it is longer; never waits for the device.

    A gradient of any length that float32 can hold keeps its direction. Returns () a number that is not finite where one
    of the gradient's is not.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    largest = _largest(gradients)
    # A factor of exactly 1 for all but absurd gradients, whose squares would overflow in the norm.
    if largest.is_cuda or not largest <= _LARGE:
        torch._foreach_mul_(gradients, (_LARGE / largest).clamp(max=1))
    return nn.utils.clip_grad_norm_(parameters, limit)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every number of all tensors is finite. Waits for the device once."""
    floats = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    return not floats or bool(torch.stack([extreme.isfinite().all() for extreme in _extremes(floats)]).all())


def _largest(tensors: Sequence[Tensor]) -> Tensor:
    """() largest absolute value; NaN where there is one."""
    return torch.stack(_extremes([tensor for tensor in tensors if tensor.numel()])).abs().amax()


def _extremes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Of each tensor its extreme values, NaN where there is one; in one pass, without memory for a copy."""
    tensors = [tensor.detach() for tensor in tensors]
    if tensors[0].is_cuda:
        return list(torch._foreach_norm(tensors, float("inf")))
    return [torch.stack(torch.aminmax(tensor)) for tensor in tensors]
