"""Which of the checkpoints at evaluations is the best, and whether a better one is still waited for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from otadet.engine.columns import training_columns
from otadet.engine.patience import Patience
from otadet.engine.settings import NO_SCORE, TrainSettings
from otadet.errors import UserError


class Best:
    """The best value of the column `best_by`: a score of the evaluations, or a column of the training."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self.value: float | None = None
        """Of `best.pth`; None where there is none."""
        self.patience = Patience(settings)
        self._latest: float | None = None
        """Newest value of the column, where it is one of the training; that of the main process counts."""

    def check_columns(self, terms: Iterable[str]) -> None:
        """Raise `UserError` where checkpoints are judged by a column that a loss of these terms does not have."""
        name = self._settings.best_by
        if self._settings.of_training and name not in (columns := training_columns(terms)):
            raise UserError(f"best_by {name}: the training has no such column; it has {', '.join(columns)}")

    def hear_training(self, row: Mapping[str, float]) -> None:
        """Take note of the newest columns of the training."""
        self._latest = row.get(self._settings.best_by)

    def value_at(self, scores: Mapping[str, float]) -> float | None:
        """What the evaluation with these scores is judged by; None where an earlier version's checkpoint lacks it.

        Raises `UserError` where it has no such score.
        """
        if self._settings.of_training:
            return self._latest
        name = self._settings.best_by
        if name not in scores:
            raise UserError(f"best_by {name}: the evaluation has no such score; it has {', '.join(scores)}")
        value = float(scores[name])
        return NO_SCORE if math.isnan(value) else value

    def hear(self, value: float) -> bool:
        """Take note of the value at an evaluation. Returns whether it is the best, of equal ones the last."""
        self.patience.hear(value)
        merit = self._settings.merit
        is_best = self.value is None or merit(value) >= merit(self.value)
        self.value = value if is_best else self.value
        return is_best

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "best": self.value,
            "best_by": self._settings.best_by,
            "latest": self._latest,
            "patience": self.patience.state(),
        }

    def restore(self, state: Mapping[str, Any], *, has_checkpoint: bool) -> None:
        """Undo `state`. has_checkpoint: whether there is a `best.pth` that has its value."""
        if state.get("best_by", self._settings.best_by) != self._settings.best_by:
            # Other columns do not compare.
            return
        self.value = state["best"] if has_checkpoint else None
        self.patience.restore(state)
        self._latest = state.get("latest")

    def __str__(self) -> str:
        """For the log, at the evaluation that was the best; "" where its value stands for none."""
        settings = self._settings
        if self.value is None or settings.is_none(self.value):
            return ""
        of = f", by {settings.best_by} {settings.shown(self.value)}" if settings.of_training else ""
        return f"best so far{of}"
