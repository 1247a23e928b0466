"""best.pth and the early stop by a column of the training."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from otadet.engine.checkpoint import load_checkpoint
from otadet.errors import UserError
from tests.helpers.logs import logged
from tests.helpers.toy_training import ToyLoss, toy_trainer


class Told(nn.Module):
    """Whose terms have these values in turn, and a gradient of 0."""

    def __init__(self, values: list[float], start: int = 0) -> None:
        super().__init__()
        self.values, self.call, self.loss = values, start, ToyLoss()
        self.at: dict[int, Callable[[], None]] = {}
        """Call, 1 for the first -> what is to happen in it."""

    def forward(self, predictions, anchors, truths):
        still = 0 * sum(self.loss(predictions, anchors, truths).values())
        self.call += 1
        self.at.get(self.call, lambda: None)()
        return {"near": still + self.values[self.call - 1], "far": still - 1}


VALUES = [5.0, 4.0, 4.5, 1.5, 3.0, 2.0, 6.0, 6.0]
"""Their means over two are 4.5, 3, 2.5 and 6; over five, 3.6, and 4.67 of the rest."""


def by_near(folder: Path, **options):
    settings = {"best_by": "near", "lower_is_better": True, "of_training": True, "eval_every": 2, "log_every": 5}
    chosen = {"loss": Told(VALUES), "evaluate": lambda model: {"AP": 0.5}, **settings, **options}
    return toy_trainer(folder, **chosen)


def column(folder: Path, name: str) -> dict[int, float]:
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        return {int(row["iteration"]): float(row[name]) for row in csv.DictReader(file) if row[name]}


def test_the_best_is_the_evaluation_whose_row_has_the_lowest_loss(tmp_path, log_lines):
    assert by_near(tmp_path).train()
    best = load_checkpoint(tmp_path / "best.pth")
    assert (best["iteration"], best["best"], best["best_by"]) == (6, 2.0, "near")
    # Each evaluation ends a row, so that none is judged by iterations from before the last one.
    assert column(tmp_path, "near") == {2: 4.5, 4: 3.0, 5: 3.0, 6: 2.0, 8: 6.0}
    assert sum("(best so far, by near " in line for line in log_lines) == 3


@pytest.fixture
def log_lines():
    with logged() as lines:
        yield lines


def test_a_loss_below_minus_one_is_a_value_as_any_other(tmp_path):
    values = [-2.0, -2.0, -5.0, -5.0, -1.0, -1.0, -4.0, -4.0]
    by_near(tmp_path, loss=Told(values), log_every=100).train()
    assert load_checkpoint(tmp_path / "best.pth")["best"] == -5.0


def test_a_speed_is_the_better_the_higher_it_is(tmp_path):
    by_near(tmp_path, best_by="iterations_per_second", lower_is_better=False).train()
    speeds = column(tmp_path, "iterations_per_second")
    best = load_checkpoint(tmp_path / "best.pth")
    assert best["best"] == pytest.approx(max(speeds[at] for at in (2, 4, 6, 8)), rel=1e-4)


def test_patience_goes_by_it_and_a_resumed_run_goes_on(tmp_path):
    whole = by_near(tmp_path / "whole", patience=1)
    assert whole.train()
    assert whole.iteration == 8
    for stop in (1, 2, 5):
        part = by_near(tmp_path / f"{stop}", patience=1)
        part.step.loss.at[stop] = part.stop.request
        assert not part.train()
        assert part.iteration == stop
        rest = by_near(tmp_path / f"{stop}", loss=Told(VALUES, stop), patience=1)
        rest.resume(rest.last_checkpoint)
        rest.train()
        assert (rest.best.value, rest.iteration) == (2.0, 8), stop
        assert column(tmp_path / f"{stop}", "near") == column(tmp_path / "whole", "near")
    rising = by_near(tmp_path / "rising", loss=Told([1.0, 1.0, 2.0, 2.0, 3.0]), patience=1)
    assert rising.train()
    assert rising.iteration == 4
    assert str(rising.best.patience) == "near has not become better than 1 in 1 evaluation (run.patience 1)"


def test_an_evaluation_that_was_cut_short_is_judged_by_the_same_value(tmp_path):
    def cut_short(model):
        raise KeyboardInterrupt

    part = by_near(tmp_path, evaluate=cut_short)
    with pytest.raises(KeyboardInterrupt):
        part.train()
    rest = by_near(tmp_path / "other", iterations=2)
    rest.resume(part.last_checkpoint)
    rest.train()
    assert rest.best.value == 4.5
    state = load_checkpoint(part.last_checkpoint)
    del state["latest"]
    older = by_near(tmp_path / "older", iterations=2)
    older.resume("older.pth", state)
    older.train()
    assert older.best.value is None, "earlier versions do not say"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best_by": "nears"}, "best_by nears: the training has no such column; it has loss, near, far, iterations"),
        ({"best_by": "AR", "of_training": False}, r"best_by AR: the evaluation has no such score; it has AP\n.*last"),
    ],
)
def test_a_column_that_does_not_come_is_named_with_those_that_do(tmp_path, options, message):
    trainer = by_near(tmp_path, **options)
    with pytest.raises(UserError, match=message):
        trainer.train()
    assert trainer.iteration == (2 if "of_training" in options else 0)
