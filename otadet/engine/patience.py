"""When a training ends early: its evaluations have brought nothing better for long enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otadet.engine.settings import TrainSettings


class Patience:
    """Counts the evaluations since the best value of `best_by`. One that is only as good is not better."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self.best: float | None = None
        """Best value heard, whether or not there is a checkpoint of it."""
        self.waited = 0
        """Evaluations since."""

    def hear(self, value: float) -> None:
        """Take note of the value at an evaluation."""
        merit = self._settings.merit
        is_better = self.best is None or merit(value) > merit(self.best)
        self.best, self.waited = (value, 0) if is_better else (self.best, self.waited + 1)

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
        settings, times = self._settings, f"{self.waited} evaluation{'s' * (self.waited != 1)}"
        best = "" if self.best is None else f" than {settings.shown(self.best)}"
        return f"{settings.best_by} has not become better{best} in {times} (run.patience {settings.patience})"
