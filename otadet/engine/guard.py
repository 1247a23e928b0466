"""Stops a training whose loss or gradient is not finite, before the weights are touched and without slowing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from otadet.distributed import broadcast_object, gather_objects, sum_over_ranks
from otadet.engine.gradient import all_finite
from otadet.errors import UserError


class NonFiniteError(UserError, FloatingPointError):
    """A loss, a gradient or a weight is infinite or not a number."""


class HostCopy:
    """A small tensor on its way to the host, while the device goes on with what it has to do."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._copied: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._tensor = tensor.to("cpu", non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self) -> list[float]:
        """The values, once the device has come to them."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._tensor.tolist()


class StepGuard:
    """What must be known of an iteration before its gradient is applied, agreed on by all processes.

    Made from the loss terms after the forward pass, asked after the backward pass has been queued: the answer is
    copied to the host while the device works on the backward pass, so that waiting for it leaves the device busy.

    terms: the loss terms of this process, on its device, in a row. stop: whether this process was asked to stop.
    """

    def __init__(self, terms: Tensor, stop: bool) -> None:
        bad = ~terms.isfinite().all()
        self._flags = HostCopy(sum_over_ranks(torch.stack((bad, bad.new_full((), stop))).float()))

    def read(self) -> tuple[bool, bool]:
        """Whether the loss of any process is not finite; whether any was asked to stop."""
        bad, stop = self._flags.read()
        return bad > 0, stop > 0


class GradientGuard:
    """Keeps a gradient that is not finite from the weights and the optimizer's averages.

    Where the optimizer can leave out an update on the device (`found_inf`, as gradient scalers have it), the host is
    told later, when it waits for the next iteration's loss anyway; any other is not called.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._on_device = getattr(optimizer, "_step_supports_amp_scaling", False)
        self._open: tuple[HostCopy, int, Sequence[str]] | None = None

    def step(self, norm: Tensor, iteration: int, file_names: Sequence[str]) -> None:
        """Let the optimizer make its step, unless `norm`, () length of the gradient, is not finite.

        iteration, file_names: what to blame. Raises `NonFiniteError`, here or in the next `check`.
        """
        bad = (~norm.isfinite()).float()
        self._open = HostCopy(bad[None]), iteration, file_names
        if not self._on_device:
            self.check()
            self._optimizer.step()
            return
        optimizer: Any = self._optimizer
        optimizer.grad_scale, optimizer.found_inf = None, bad
        try:
            optimizer.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf

    def check(self) -> None:
        """Raise `NonFiniteError` if the last gradient was not finite. Every process calls it."""
        if self._open is None:
            return
        (copy, iteration, file_names), self._open = self._open, None
        if not copy.read()[0]:
            return
        # Every process has the mean of all gradients, so that the images of any may be the cause.
        names = broadcast_object(gather_objects(list(file_names)))
        images = ", ".join(name for each in names for name in each)
        raise NonFiniteError(
            f"the gradient is not finite, or too large for float32, in iteration {iteration}, though the loss is fine\n"
            f"images of the batch: {images}\n"
            "The weights were not touched by it. Try a grad_clip such as 10, which shortens a gradient that is too "
            "large, a lower lr or a longer warm-up."
        )


def raise_non_finite(iteration: int, terms: Mapping[str, Tensor], file_names: Sequence[str], model: nn.Module) -> None:
    """Raise `NonFiniteError` with the loss terms and the images of the first process whose loss is not finite."""
    values = {name: term.item() for name, term in terms.items()}
    finite = all(torch.isfinite(term) for term in terms.values())
    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    if weights_are_finite(model):
        weights = "The weights were not touched by it."
    else:
        weights = "The weights were not finite before: a gradient overflowed earlier, where the loss did not."
    message = (
        f"the loss is not finite in iteration {iteration}: {shown}\n"
        f"images of the batch: {', '.join(file_names)}\n"
        f"{weights} Try a lower lr, a longer warm-up, a grad_clip or, with fp16, the amp_dtype bf16."
    )
    messages = gather_objects(None if finite else message)
    raise NonFiniteError(broadcast_object(next(filter(None, messages), message)))


def weights_are_finite(model: nn.Module) -> bool:
    """Whether every number of the model's state is finite. Waits for the device."""
    return all_finite(model.state_dict().values())


def optimizer_is_finite(optimizer: torch.optim.Optimizer) -> bool:
    """Whether every momentum and the like is finite. Waits for the device."""
    values = (value for state in optimizer.state.values() for value in state.values())
    return all_finite(value for value in values if isinstance(value, Tensor))
