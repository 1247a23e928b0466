"""The data say whose evaluation is made: in training, in its files, and in `otadet eval`."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from otadet.apps.start import Start
from otadet.apps.training import train_experiment
from otadet.apps.validation import Validation
from otadet.data.dataset import DetectionDataset
from otadet.engine.checkpoint import load_checkpoint
from otadet.errors import UserError
from otadet.evaluation.protocols import PROTOCOLS
from otadet.exp import SCORES, BaseExp, load_exp
from tests.helpers.bright_squares import write_project
from tests.helpers.programs import call_tool
from tests.helpers.tiny_experiment import write_tiny_experiment

CPU = torch.device("cpu")


@pytest.fixture
def exp(tmp_path: Path) -> BaseExp:
    """Whose data are CrowdHuman's, as far as their evaluation goes."""

    class Crowded(type(load_exp(write_tiny_experiment(tmp_path).file))):  # type: ignore[misc]
        def build_val_dataset(self, class_names=None) -> DetectionDataset:
            dataset = super().build_val_dataset(class_names)
            dataset.annotations = replace(dataset.annotations, protocol="crowdhuman")
            return dataset

    crowded = Crowded()
    crowded.override(["length", "3iterations", "run.log_every", "1", "run.eval_every", "0.5"])
    return crowded


def test_a_training_on_crowds_goes_by_the_miss_rate(exp: BaseExp, tmp_path: Path, monkeypatch) -> None:
    measured = iter([0.9, 0.4, 0.6])
    evaluate = PROTOCOLS["crowdhuman"].evaluate

    def measure(*args, **kwargs):
        result = evaluate(*args, **kwargs)
        return replace(result, stats={**result.stats, "MR": next(measured)})

    monkeypatch.setitem(PROTOCOLS, "crowdhuman", replace(PROTOCOLS["crowdhuman"], evaluate=measure))
    assert train_experiment(exp, CPU, Start(tmp_path / "run"))
    with open(tmp_path / "run" / "metrics.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["MR"]]
    assert [(row["iteration"], row["MR"]) for row in rows] == [("1", "0.9"), ("2", "0.4"), ("3", "0.6")]
    assert all(row[name] for row in rows for name in ("AP", "recall", "JI"))
    assert "AP50" not in rows[0]
    best = load_checkpoint(tmp_path / "run" / "best.pth")
    assert (best["iteration"], best["best"], best["best_by"]) == (2, 0.4, "MR")
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert "evaluation at iteration 2: MR 0.400" in log
    assert "CrowdHuman's evaluation, by otadet" in log
    assert "best MR 0.400" in log
    assert (tmp_path / "run" / "curves.png").exists()


def test_a_score_that_the_data_do_not_have_is_an_error(exp: BaseExp) -> None:
    exp.override(["best_by", "AP50"])
    message = r"best_by AP50: these data have CrowdHuman's evaluation, whose scores are MR, AP, recall, JI"
    with pytest.raises(UserError, match=message):
        Validation(exp, exp.build_val_dataset())
    exp.override(["best_by", "JI"])
    assert Validation(exp, exp.build_val_dataset()).best_by == "JI"
    of_coco = super(type(exp), exp).build_val_dataset()
    with pytest.raises(UserError, match=r"best_by JI: these data have COCO's evaluation.* or none for AP"):
        Validation(exp, of_coco)


def test_the_experiment_knows_every_score() -> None:
    assert set(SCORES) == {name for protocol in PROTOCOLS.values() for name in protocol.logged}
    for protocol in PROTOCOLS.values():
        printed = {name for row in protocol.rows for name in row}
        assert {protocol.main, "AP", *protocol.lower_is_better, *protocol.per_class, *protocol.logged} <= printed


def test_coco_data_are_measured_as_crowds_on_request(tmp_path: Path, monkeypatch, capsys) -> None:
    project = write_project(tmp_path)
    arguments = ("eval", "-f", project.experiment, "-c", project.checkpoint, "--device", "cpu")
    call_tool(monkeypatch, *arguments, "--protocol", "crowdhuman", "--json")
    found = json.loads(capsys.readouterr().out)
    # Two objects of the first class, one of the second: AP is 1 - 1/2 and 1 - 1/1.
    assert found["stats"] == pytest.approx({"MR": 0, "AP": 0.25, "recall": 1, "JI": 1})
    assert found["protocol"] == "crowdhuman"
    assert [(one["truths"], one["MR"]) for one in found["per_class"]] == [(2, 0), (1, 0)]
    call_tool(monkeypatch, *arguments, "--protocol", "crowdhuman", "--per-class")
    printed = capsys.readouterr().out
    assert "    MR     AP recall     JI" in printed
    assert "CrowdHuman's evaluation, by otadet" in printed
    call_tool(monkeypatch, *arguments, "--judge", "pycocotools", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["judge"].startswith("pycocotools ")
    with pytest.raises(UserError, match="computes COCO's numbers alone"):
        call_tool(monkeypatch, *arguments, "--protocol", "crowdhuman", "--judge", "pycocotools")
