"""When a training ends early: its evaluations have brought nothing better for long enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otadet.engine.settings import TrainSettings


class Patience:
    """Counts the evaluations since the best score. One that is only as good is not better."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self.best: float | None = None
        """Best score heard, whether or not there is a checkpoint of it."""
        self.waited = 0
        """Evaluations since."""

    def hear(self, score: float) -> None:
        """Take note of the score of an evaluation."""
        merit = self._settings.merit
        is_better = self.best is None or merit(score) > merit(self.best)
        self.best, self.waited = (score, 0) if is_better else (self.best, self.waited + 1)

    @property
    def is_over(self) -> bool:
        return self._settings.patience is not None and self.waited >= self._settings.patience

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo `state`. state: the checkpoint's; those of earlier versions have the best score alone."""
        own = state.get("patience", {})
        self.best, self.waited = own.get("best", state["best"]), own.get("waited", 0)

    def __str__(self) -> str:
        name, times = self._settings.best_by, f"{self.waited} evaluation{'s' * (self.waited != 1)}"
        return f"{name} has not become better than {self.best:.3f} in {times} (run.patience {self._settings.patience})"
