"""`run.accumulate N` is the training with batches N times as large."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from otadet.apps.batches import train_batches
from otadet.apps.compose import build_datasets, build_trainer
from otadet.engine.checkpoint import load_checkpoint
from otadet.exp import BaseExp, load_exp
from tests.helpers.tiny_experiment import write_tiny_experiment

CPU = torch.device("cpu")


def experiment(file: Path, *words: str) -> BaseExp:
    exp = load_exp(file)
    exp.override(
        ["length", "3epochs", "run.log_every", "1", "run.eval_every", "1.5", "model.backbone.width", "8", *words]
    )
    return exp


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_tiny_experiment(tmp_path).file


def trainer_of(exp: BaseExp, folder: Path):
    folder.mkdir(exist_ok=True)
    train_set, _ = build_datasets(exp)
    torch.manual_seed(0)
    return build_trainer(exp, exp.build_model(2), train_set, None, CPU, folder)


def test_all_but_the_rounding_is_that_of_the_large_batch(file: Path, tmp_path: Path) -> None:
    # Batch norms would see two images at a time.
    large = experiment(file, "batch_size", "4", "freeze_norms", "true")
    parted = experiment(file, "batch_size", "2", "accumulate", "2", "freeze_norms", "true")
    one, other = trainer_of(large, tmp_path / "large"), trainer_of(parted, tmp_path / "parted")
    assert one.settings == other.settings
    assert one.settings.iterations == 3
    assert [one.step.schedule(at) for at in range(3)] == [other.step.schedule(at) for at in range(3)]
    for left, right in zip(one.loader(0), other.loader(0), strict=True):
        assert left.file_names == right.file_names
        assert torch.equal(left.images, right.images)
    assert one.train()
    assert other.train()
    for name, weight in one.step.model.state_dict().items():
        torch.testing.assert_close(other.step.model.state_dict()[name], weight, rtol=1e-3, atol=1e-5)
    assert load_checkpoint(other.last_checkpoint)["parts"]["run"]["accumulate"] == 2


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(file: Path, tmp_path: Path) -> None:
    exp = experiment(file, "batch_size", "1", "accumulate", "4")
    whole, part = trainer_of(exp, tmp_path / "whole"), trainer_of(exp, tmp_path / "part")
    assert whole.train()
    part.step.schedule = lambda at, schedule=part.step.schedule: (at == 1 and part.stop.request()) or schedule(at)
    assert not part.train()
    rest = trainer_of(exp, tmp_path / "part")
    rest.resume(rest.last_checkpoint)
    assert rest.iteration == 2
    assert rest.train()
    for name, weight in whole.step.model.state_dict().items():
        assert torch.equal(rest.step.model.state_dict()[name], weight), name


def test_one_batch_per_step_takes_the_path_that_it_took(file: Path, tmp_path: Path) -> None:
    assert trainer_of(experiment(file), tmp_path / "run").step._accumulation is None


def test_batches_are_drawn_as_the_training_has_them(file: Path) -> None:
    exp = experiment(file, "accumulate", "2")
    train_set, _ = build_datasets(exp)
    batch = next(iter(train_batches(exp, train_set, exp.build_train_transform(), 32)))
    assert len(batch) == 4
