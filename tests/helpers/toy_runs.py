"""What happens in the training of `toy_training`, and what it leaves."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from otadet.engine.trainer import Trainer
from tests.helpers.toy_training import ToyLoss


class CallAt(nn.Module):
    """A loss that does something in its n-th call, 1 for the first."""

    def __init__(self, call: int, action: Callable[[dict[str, Tensor]], dict[str, Tensor] | None]) -> None:
        super().__init__()
        self.left, self.action, self.loss = call, action, ToyLoss()

    def forward(self, predictions, anchors, truths):
        terms = self.loss(predictions, anchors, truths)
        self.left -= 1
        return self.action(terms) or terms if self.left == 0 else terms


def interrupt(terms: dict[str, Tensor]) -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def make_nan(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**terms, "far": terms["far"] * torch.nan}


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    """The plain ones and the averages."""
    step = trainer.step
    averages = step.ema.model.state_dict() if step.ema else {}
    return {**step.model.state_dict(), **{f"ema {name}": tensor for name, tensor in averages.items()}}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def metrics_of(folder: Path) -> list[dict[str, str]]:
    """All but the times, which no two runs have alike."""
    times = ("iterations_per_second", "data_ms", "compute_ms")
    return [{name: value for name, value in row.items() if name not in times} for row in rows(folder)]


def rows(folder: Path) -> list[dict[str, str]]:
    """Of metrics.csv."""
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def scored(scores: Iterable[float]) -> Callable[[nn.Module], dict[str, float]]:
    """An evaluation that finds these scores, one after the other."""
    left = iter(scores)
    return lambda model: {"AP": next(left)}
