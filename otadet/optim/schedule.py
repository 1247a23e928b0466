"""Learning-rate schedules: pure functions of the iteration, so that a resumed run needs no state to go on.

Each is called with an iteration (0 for the first update) and returns a factor of the optimizer's own learning rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from otadet.errors import UserError


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


def iterations_for(epochs: float, dataset_size: int, batch_size: int) -> int:
    """Whole iterations, at least 1, that show `epochs` times `dataset_size` images in batches of `batch_size`."""
    return max(1, round(epochs * dataset_size / batch_size))


def _with_warmup(text: str, warmup: int) -> str:
    return f"{text}, after a warm-up of {warmup}" if warmup else text
