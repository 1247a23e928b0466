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
    eval_every: int | None = None
    """None evaluates at the end only."""
    log_every: int = 20
    save_every: int = 1000
    """Between two `last.pth`, beside those at evaluations and at the end; the one before is `last.previous.pth`."""
    best_by: str = "AP"
    """The score of an evaluation that decides which checkpoint is `best.pth`: the one with the best, of equal ones the
    last. -1 means that there is no score."""
    lower_is_better: bool = False
    """Whether the best of these scores is the lowest rather than the highest."""
    patience: int | None = None
    """The training ends after so many evaluations in a row without a better score; None: never early."""
    data_advice: str = ""
    """What to do where the training waits for its data more than it computes."""

    def merit(self, score: float) -> float:
        """What is higher for a better score, and lowest for none."""
        if score <= NO_SCORE:
            return -math.inf
        return -score if self.lower_is_better else score
