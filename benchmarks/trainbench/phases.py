"""Where the time of a training step goes, measured from outside: hooks on what the `TrainStep` calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch

from otadet.data.batch import Batch
from otadet.engine.train_step import TrainStep
from otadet.profiling.meters import wait_for

PHASES = ("data", "transfer", "forward", "assignment", "loss", "backward", "optimizer")
"""In the order of a step. data: waiting for the loader. transfer: host to device. forward: normalisation and network.
loss: without the assignment. backward: with the check that the loss is finite. optimizer: with clipping, EMA and the
clearing of the gradients, where they are after the backward pass."""


class PhaseClock:
    """Seconds of each phase of one step. The device is waited for at each mark, so that a phase has all of its work;
    a step that is measured so takes longer than one that lets the host run ahead."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._last = 0.0

    def start(self) -> None:
        wait_for(self.device)
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._last = perf_counter()

    def mark(self, phase: str) -> None:
        """What was done since the last mark was this phase."""
        wait_for(self.device)
        now = perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now


class ArrivingBatch:
    """A `Batch` that marks the end of its transfer."""

    def __init__(self, batch: Batch, clock: PhaseClock) -> None:
        self._batch, self._clock = batch, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __len__(self) -> int:
        return len(self._batch)

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        moved = self._batch.to(*args, **kwargs)
        self._clock.mark("transfer")
        return moved


@contextmanager
def clocked(step: TrainStep, clock: PhaseClock) -> Iterator[None]:
    """Inside, its steps mark their phases; the caller marks "data" before and "optimizer" after each."""
    loss, assigner = step.loss, step.loss.assigner
    handles = [
        loss.register_forward_pre_hook(lambda *_: clock.mark("forward")),
        loss.register_forward_hook(lambda *_: clock.mark("loss")),
        step.optimizer.register_step_pre_hook(lambda *_: clock.mark("backward")),
    ]
    loss.assigner = _clocked_assigner(assigner, clock)
    try:
        yield
    finally:
        loss.assigner = assigner
        for handle in handles:
            handle.remove()


def _clocked_assigner(assigner: Callable, clock: PhaseClock) -> Callable:
    def assign(*args: Any) -> Any:
        clock.mark("loss")
        assignment = assigner(*args)
        clock.mark("assignment")
        return assignment

    return assign
