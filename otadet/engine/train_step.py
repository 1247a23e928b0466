"""One training step: forward, loss, backward, update of the weights; on one device or on several, in any precision."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from otadet.distributed import world_size
from otadet.engine.accumulation import Accumulation
from otadet.engine.gradient import clip_gradient, gradient_norm, parameters_of
from otadet.engine.guard import GradientGuard, StepGuard, optimizer_is_finite, raise_non_finite, weights_are_finite
from otadet.engine.precision import autocast
from otadet.engine.restore import restore_ema, restore_model, restore_optimizer
from otadet.engine.stop import StopRequest
from otadet.optim.ema import ModelEma

if TYPE_CHECKING:
    from otadet.data.batch import Batch


@dataclass(frozen=True)
class StepResult:
    """What one step says."""

    losses: dict[str, Tensor]
    """The loss terms of this process, detached scalars on the device."""
    stop: bool
    """Whether any process was asked to stop."""


class TrainStep:
    """The model and all that changes its weights.

    The total loss is the sum of the terms; with several processes its mean over them is minimised. Only the model runs
    in `amp_dtype`: the loss, and with it the label assignment, is fp32.

    Args:
        model: images (N, 3, H, W) float -> (predictions, anchors).
        loss: (predictions, anchors, truths) -> named scalars, whose sum is minimised.
        optimizer: over the parameters of `model`, with the base learning rates.
        schedule: iteration, 0 for the first -> factor of the base learning rates.
        normalize: pixels (N, 3, H, W) uint8 -> what the model sees.
        amp_dtype: what the model computes in; None: fp32.
        channels_last: memory layout of images and weights: (N, H, W, C) instead of (N, C, H, W).
        grad_clip: largest norm of the gradient.
        ema_decay: of the averaged weights; None: there are none.
        iterations: length of the training, for a loss that changes on its way (`at_progress`).
        still_norms: names of the batch norms of `model` that keep their statistics.
        accumulate: parts that a batch is computed in, one after the other; see `Accumulation`.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[int], float],
        normalize: nn.Module,
        device: torch.device,
        *,
        amp_dtype: torch.dtype | None = None,
        channels_last: bool = False,
        grad_clip: float | None = None,
        ema_decay: float | None = None,
        iterations: int | None = None,
        still_norms: Collection[str] = (),
        accumulate: int = 1,
    ) -> None:
        self.device = device
        self.amp_dtype = amp_dtype
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.grad_clip = grad_clip
        self.optimizer = optimizer
        self.schedule = schedule
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        self.model = _synchronize_norms(model.to(device).to(memory_format=self.memory_format), device)
        self.network = _parallel(self.model, device)
        self.loss = loss.to(device)
        self.normalize = normalize.to(device)
        self.iterations = iterations
        self.still_norms = frozenset(still_norms)
        self.ema = None if ema_decay is None else ModelEma(self.model, ema_decay)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype == torch.float16)
        self._gradient = GradientGuard(optimizer)
        self.accumulate = accumulate
        self._accumulation = None if accumulate == 1 else Accumulation(self.model, self.network, self.loss, device)

    @property
    def best_model(self) -> nn.Module:
        """The averaged model where there is one: what is evaluated."""
        return self.model if self.ema is None else self.ema.model

    @property
    def lr(self) -> float:
        """Learning rate of the last step, of the first parameter group."""
        return self.optimizer.param_groups[0]["lr"]

    def train_mode(self) -> None:
        """What an evaluation has ended: norms use the batch again, but for those that keep their statistics."""
        self.network.train()
        for name, module in self.model.named_modules():
            if name in self.still_norms:
                module.eval()

    def __call__(self, batch: Batch, iteration: int, stop: StopRequest) -> StepResult:
        """Make step number `iteration`, 0 for the first.

        stop: what this process was asked, which it tells the others. Raises `NonFiniteError`, leaving the weights
        alone, where a loss term of any process or the gradient is not finite (the latter perhaps only in the next call,
        or in `check`). An fp16 gradient that overflows while the loss is finite is no error: the scaler leaves out the
        update and lowers its scale.
        """
        batch = batch.to(self.device)
        if self.iterations and (changing := getattr(self.loss, "at_progress", None)) is not None:
            changing(iteration / self.iterations)
        factor = self.schedule(iteration)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        losses, guard = self._add_gradient(batch, stop)
        bad, stopping = guard.read()
        self._gradient.check()
        if bad:
            raise_non_finite(iteration + 1, losses, batch.file_names, self.model)
        self._apply_gradient(iteration + 1, batch.file_names)
        if self.ema is not None:
            self.ema.update(self.model, iteration)
        return StepResult(losses, stopping)

    def _add_gradient(self, batch: Batch, stop: StopRequest) -> tuple[dict[str, Tensor], StepGuard]:
        """Queue the work up to the gradient of a batch. Returns its loss terms, and what is to be asked about them."""

        def guarded(losses: dict[str, Tensor]) -> tuple[dict[str, Tensor], StepGuard]:
            return losses, StepGuard(torch.stack(list(losses.values())), stop.requested)

        if self._accumulation is not None:
            parts = batch.parts(self.accumulate)
            return self._accumulation.backward(parts, self._predict, self.scaler.scale, guarded, self.optimizer)
        terms = self.loss(*self._predict(self.network, batch), batch.truths)
        found = guarded({name: term.detach() for name, term in terms.items()})
        self.scaler.scale(reduce(torch.add, terms.values())).backward()
        return found

    def _predict(self, network: nn.Module, batch: Batch) -> tuple[Any, Any]:
        """(predictions, anchors) of the images."""
        images = self.normalize(batch.images).contiguous(memory_format=self.memory_format)
        with autocast(self.device, self.amp_dtype):
            return network(images)

    def _apply_gradient(self, iteration: int, file_names: Sequence[str]) -> None:
        parameters = parameters_of(self.optimizer)
        if self.scaler.is_enabled():
            if self.grad_clip is not None:
                self.scaler.unscale_(self.optimizer)
                clip_gradient(parameters, self.grad_clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            norm = gradient_norm(parameters) if self.grad_clip is None else clip_gradient(parameters, self.grad_clip)
            self._gradient.step(norm, iteration, file_names)
        self.optimizer.zero_grad(set_to_none=True)

    def check(self) -> None:
        """Raise `NonFiniteError` if the gradient of the last step was not finite. Every process calls it."""
        self._gradient.check()

    def what_is_not_finite(self) -> str | None:
        """Which part of the state has infinity or NaN in it, None if there is none. Waits for the device."""
        if not weights_are_finite(self.model):
            return "a weight"
        if self.ema is not None and not weights_are_finite(self.ema.model):
            return "an averaged weight (ema)"
        return None if optimizer_is_finite(self.optimizer) else "one of the optimizer's averages"

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on from here."""
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_kind": type(self.optimizer).__name__,
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, path: object, state: dict[str, Any]) -> None:
        """Undo `state`. Raises `UserError`, naming the checkpoint `path`, where model or optimizer are others."""
        restore_model(path, self.model, state["model"])
        restore_optimizer(path, self.optimizer, state["optimizer_kind"], state["optimizer"])
        if self.ema is not None:
            restore_ema(path, self.ema.model, state)
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def _synchronize_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """Let batch norms that train see the batch of all processes (CUDA is the only device that can)."""
    norms = (module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    trainable = any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    if world_size() > 1 and device.type == "cuda" and trainable:
        for name, child in model.named_children():
            # A network of another package may have norms that are more than a norm.
            own = getattr(child, "synchronized", None)
            setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(child) if own is None else own())
    return model


def _parallel(model: nn.Module, device: torch.device) -> nn.Module:
    if world_size() == 1:
        return model
    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)
