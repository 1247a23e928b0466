"""The numbers of a training, as the loop needs them."""

from __future__ import annotations

import math
from dataclasses import dataclass

NO_SCORE = -1.0
"""What COCO's evaluation says where no object counts."""


@dataclass(frozen=True)
class TrainSettings:
    """The numbers of a training; all intervals are in iterations."""

    iterations: int
    """Length of the training."""
    iterations_per_epoch: float = 1.0
    """For the records only."""
    eval_every: float | None = None
    """At the iterations nearest its multiples, and at the end; None: at the end only."""
    log_every: int = 20
    save_every: int = 1000
    """Between two `last.pth`, beside those at evaluations and at the end; the one before is `last.previous.pth`."""
    best_by: str = "AP"
    """The column of metrics.csv that decides which of the checkpoints at evaluations is `best.pth`: the one with the
    best value, of equal ones the last."""
    lower_is_better: bool = False
    """Whether the best of these values is the lowest rather than the highest."""
    of_training: bool = False
    """Whether the column is one of the training's, such as "loss", whose rows end at each evaluation then; else it is a
    score of the evaluations, where -1 means that there is none."""
    patience: int | None = None
    """The training ends after so many evaluations in a row without a better value; None: never early."""
    data_advice: str = ""
    """What to do where the training waits for its data more than it computes."""

    def evaluates_after(self, iteration: int) -> bool:
        """Whether an evaluation follows that iteration, which counts from 1."""
        every, left = self.eval_every, self.iterations - iteration
        if every is None or left == 0:
            return left == 0
        # The last one is not made twice, where the length is no whole multiple.
        return left >= every / 10 and iteration == round(every * max(1, round(iteration / every)))

    def merit(self, value: float) -> float:
        """What is higher for a better value, and lowest for none."""
        if self.is_none(value):
            return -math.inf
        return -value if self.lower_is_better else value

    def shown(self, value: float) -> str:
        """As it is written in the log."""
        return f"{value:.4g}" if self.of_training else f"{value:.3f}"

    def is_none(self, value: float) -> bool:
        """Whether it stands for no value at all."""
        return not self.of_training and value <= NO_SCORE
