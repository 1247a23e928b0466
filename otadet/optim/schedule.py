"""Learning-rate schedules: pure functions of the iteration, so that a resumed run needs no state to go on.

Each is called with an iteration (0 for the first update) and returns a factor of the optimizer's own learning rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from otadet.errors import UserError
from otadet.limits import Limits
from otadet.optim.length import Epochs, Training
from otadet.part import Part

_FACTOR = Limits(0, 1)


@dataclass(frozen=True)
class Steps(Part):
    """The learning rate is multiplied by `factor` at each of `at`, after a linear warm-up.

    Places in the training are a share of its length below 1, iterations from 1 on, or epochs where written as
    `Epochs(8)`, on the command line `8epochs`. Raises `UserError` for places that are no such, or do not ascend.
    """

    at: tuple[Annotated[float, Limits(0, 10**12, open_low=True)] | Epochs, ...] = (60_000, 80_000)
    """Places where the rate drops, ascending."""
    factor: Annotated[float, _FACTOR] = 0.1
    """What the rate is multiplied by."""
    warmup: Annotated[float, Limits(0, 10**12)] | Epochs = 1000
    """Where the warm-up ends; 0: there is none."""
    warmup_start: Annotated[float, _FACTOR] = 0.001
    """Factor of the first iteration where there is a warm-up."""

    def check(self) -> None:
        for name, places in (("at", self.at), ("warmup", (self.warmup,))):
            _check_places(name, places)
        for kind in (
            [place for place in self.at if not isinstance(place, Epochs) and place < 1],
            [place for place in self.at if not isinstance(place, Epochs) and place >= 1],
            [place.count for place in self.at if isinstance(place, Epochs)],
        ):
            if kind != sorted(kind):
                raise UserError(f"at {_shown(self.at)}: must be ascending")

    def build(self, training: Training) -> StepSchedule:
        """Iteration -> factor of the learning rate. Raises `UserError` where the places do not ascend there."""
        steps = tuple(training.place(where) for where in self.at)
        if list(steps) != sorted(steps):
            raise UserError(f"schedule.at {_shown(self.at)}: are iterations {_shown(steps)} here; must be ascending")
        return StepSchedule(steps, self.factor, training.place(self.warmup), self.warmup_start)


@dataclass(frozen=True)
class Cosine(Part):
    """The learning rate follows half a cosine from 1 down to `final` over what the linear warm-up leaves."""

    final: Annotated[float, _FACTOR] = 0.0
    """Factor reached at the end."""
    warmup: Annotated[float, Limits(0, 10**12)] | Epochs = 1000
    """Where the warm-up ends, as in `Steps`."""
    warmup_start: Annotated[float, _FACTOR] = 0.001
    """Factor of the first iteration where there is a warm-up."""

    def check(self) -> None:
        _check_places("warmup", (self.warmup,))

    def build(self, training: Training) -> CosineSchedule:
        """Iteration -> factor of the learning rate."""
        return CosineSchedule(training.iterations, self.final, training.place(self.warmup), self.warmup_start)


@dataclass(frozen=True)
class StepSchedule:
    """Multiplied by `gamma` at each of `steps`, after a linear warm-up."""

    steps: tuple[int, ...] = ()
    """Iterations at which the rate drops, ascending; those beyond the end of training never happen. Where one stands
    twice, as steps in epochs of a small data set may, the rate drops twice."""
    gamma: float = 0.1
    warmup: int = 0
    """Iterations of linear warm-up."""
    warmup_start: float = 0.001
    """Factor of iteration 0 when there is a warm-up."""

    def __post_init__(self) -> None:
        if list(self.steps) != sorted(self.steps) or any(step <= 0 for step in self.steps):
            raise UserError(f"steps {self.steps}: must be positive and ascending")

    def __call__(self, iteration: int) -> float:
        drops = sum(iteration >= step for step in self.steps)
        return self.gamma**drops * warmup_factor(iteration, self.warmup, self.warmup_start)

    def __str__(self) -> str:
        steps = ", ".join(str(step) for step in self.steps)
        return _with_warmup(f"x{self.gamma:g} at iterations {steps}" if steps else "constant", self.warmup)


@dataclass(frozen=True)
class CosineSchedule:
    """Half a cosine from 1 down to `final` over the iterations that the linear warm-up leaves."""

    iterations: int
    """Length of the whole training, warm-up included."""
    final: float = 0.0
    """Factor reached at the end."""
    warmup: int = 0
    warmup_start: float = 0.001

    def __call__(self, iteration: int) -> float:
        progress = (iteration - self.warmup) / max(1, self.iterations - self.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        annealed = self.final + (1 - self.final) * cosine
        return annealed * warmup_factor(iteration, self.warmup, self.warmup_start)

    def __str__(self) -> str:
        return _with_warmup(f"cosine to {self.final:g} over {self.iterations} iterations", self.warmup)


def warmup_factor(iteration: int, warmup: int, start: float) -> float:
    """Linear from `start` at iteration 0 to 1 at iteration `warmup`; 1 from there on."""
    if iteration >= warmup:
        return 1.0
    return start + (1 - start) * iteration / warmup


def _check_places(name: str, places: tuple[float | Epochs, ...]) -> None:
    for place in places:
        if not isinstance(place, Epochs) and place >= 1 and place != int(place):
            raise UserError(
                f"{name} {place:g}: is neither a share of the training, below 1, nor a whole number of iterations; "
                f"epochs are written as Epochs({place:g}), or {place:g}epochs on the command line"
            )


def _shown(places: tuple[float | Epochs, ...]) -> str:
    return ", ".join(str(place) for place in places)


def _with_warmup(text: str, warmup: int) -> str:
    return f"{text}, after a warm-up of {warmup}" if warmup else text
