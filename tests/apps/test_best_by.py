"""`run.best_by` takes any column of metrics.csv, and says beforehand which there are."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from otadet.apps.compose import build_datasets, build_trainer
from otadet.apps.start import Start
from otadet.apps.training import train_experiment
from otadet.apps.validation import Validation
from otadet.engine.checkpoint import load_checkpoint
from otadet.errors import UserError
from otadet.exp import BaseExp, load_exp
from tests.helpers.tiny_experiment import write_tiny_experiment

CPU = torch.device("cpu")


@pytest.fixture
def exp(tmp_path: Path) -> BaseExp:
    tiny = load_exp(write_tiny_experiment(tmp_path).file)
    tiny.override(
        [
            "length",
            "6iterations",
            "run.log_every",
            "4",
            "run.eval_every",
            "1",
            "optimizer.lr",
            "1e-9",
            "model.backbone.width",
            "8",
        ]
    )
    return tiny


def test_a_term_of_the_loss_decides(exp: BaseExp, tmp_path: Path) -> None:
    exp.override(["best_by", "box", "patience", "5"])
    assert train_experiment(exp, CPU, Start(tmp_path / "run"))
    with open(tmp_path / "run" / "metrics.csv", encoding="utf-8") as file:
        rows = {int(row["iteration"]): row for row in csv.DictReader(file)}
    evaluated = {at: float(row["box"]) for at, row in rows.items() if row["AP"]}
    assert list(evaluated) == [2, 4, 6]
    best = load_checkpoint(tmp_path / "run" / "best.pth")
    assert best["best"] == pytest.approx(min(evaluated.values()), rel=1e-5)
    assert best["best"] == pytest.approx(evaluated[best["iteration"]], rel=1e-5)
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert f"best box {best['best']:.4g}, in " in log


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("best_by APP", r"run\.best_by APP: metrics\.csv has no such column; choose one of AP, .* MR, .*loss, cls, bo"),
        ("best_by bos", "did you mean 'box'"),
        ("best_by positive", "no such column"),
        ("model.quality none best_by quality", "choose one of .* loss, cls, box, iterations_per_second"),
        ("best_by lr", "best_by lr: says where a training is, not how good it is"),
        ("best_by " + 1000 * "x", r"best_by x+\.\.\. \(1000 characters\): metrics.csv has no such column"),
    ],
)
def test_no_other_column_is_taken(exp: BaseExp, words: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        exp.override(words.split(" "))
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_name_is_none(exp: BaseExp) -> None:
    with pytest.raises(UserError, match="no such column"):
        exp.override(["best_by", ""])


@pytest.mark.parametrize(
    ("column", "of_training", "is_lower"),
    [("AP50", False, False), ("loss", True, True), ("data_ms", True, True), ("iterations_per_second", True, False)],
)
def test_which_of_its_values_are_better(exp: BaseExp, column: str, of_training: bool, is_lower: bool) -> None:
    exp.override(["best_by", column])
    found = Validation(exp, exp.build_val_dataset())
    assert (found.of_training, found.lower_is_better) == (of_training, is_lower)


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ("best_by loss", "95 %"),
        ("best_by l1 loss.l1_from 0.5", "50 %"),
        ("best_by l1 loss.l1_from 1", "100 %"),
        ("best_by loss loss.l1_from 1", None),
        ("best_by l1 loss.l1_from 0", None),
        ("best_by box", None),
        ("best_by AP", None),
    ],
)
def test_a_column_whose_term_begins_late_is_warned_of(exp: BaseExp, words: str, share: str | None) -> None:
    exp.override(["model", "yolox_nano", "loss", "bce_iou", *words.split()])
    advice = Validation(exp, exp.build_val_dataset()).advice
    column = words.split()[1]
    said = f"run.best_by {column}: l1 is 0 in the first {share} of the training, so that its later checkpoints"
    assert advice.startswith(said) if share else not advice


def test_a_loss_of_ones_own_may_say_its_terms_or_not(exp: BaseExp, tmp_path: Path) -> None:
    class Own(nn.Module):
        def forward(self, predictions, anchors, truths):
            return {"mine": predictions.boxes.sum() * 0}

    class Mine(type(exp)):  # type: ignore[misc]
        def build_loss(self) -> nn.Module:
            return Own()

    mine = Mine()
    mine.override(["best_by", "mine", "length", "2iterations", "run.batch_size", "2"])
    train_set, val_set = build_datasets(mine)
    names = {"mine": None, "their": "best_by their: the training has no such column; it has loss, mine, iterations_per"}
    for name, message in names.items():
        mine.override(["best_by", name])
        trainer = build_trainer(mine, mine.build_model(2), train_set, Validation(mine, val_set), CPU, tmp_path / name)
        (tmp_path / name).mkdir()
        if message is None:
            assert trainer.train()
            assert trainer.best.value == 0
            continue
        with pytest.raises(UserError, match=message):
            trainer.train()
    Own.terms = ("mine",)
    with pytest.raises(UserError, match=r"best_by their: metrics\.csv has no such column"):
        mine.override(["best_by", "their"])
