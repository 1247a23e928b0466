"""The training loop: what it leaves, says, saves and evaluates."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch

from otadet.engine.checkpoint import load_checkpoint
from otadet.errors import UserError
from otadet.optim.optimizer import SGD
from tests.helpers.toy_runs import CallAt, assert_equal, interrupt, rows, scored, weights_of
from tests.helpers.toy_training import ToyLoss, ToyModel, toy_batches, toy_trainer


def test_training_lowers_the_loss_and_leaves_its_files(tmp_path):
    trainer = toy_trainer(tmp_path, iterations=30, log_every=5)
    assert trainer.train()
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    assert len(losses) == 6
    assert losses[-1] < 0.7 * losses[0]
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["last.pth", "metrics.csv"]


def test_the_schedule_sets_the_rate_of_every_group(tmp_path):
    model = ToyModel()
    optimizer = SGD(lr=0.5, weight_decay=0.1, weight_decay_on="weights").build(model)
    trainer = toy_trainer(tmp_path, model=model, optimizer=optimizer, iterations=7)
    trainer.train()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.05])
    assert float(rows(tmp_path)[0]["lr"]) == pytest.approx(0.5 * (0.001 + 0.999 / 3), rel=1e-4)


def test_the_memory_layout_is_a_matter_of_speed_alone(tmp_path):
    # Without dropout, which draws in the order of memory.
    torch.manual_seed(0)
    model = ToyModel(dropout=0.0)
    plain, last = (
        toy_trainer(tmp_path / name, model=deepcopy(model), channels_last=name == "last") for name in ("plain", "last")
    )
    for trainer in (plain, last):
        trainer.train()
    convolution = last.step.model.body[0].weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    for name, weight in weights_of(plain).items():
        assert torch.allclose(weights_of(last)[name], weight, atol=1e-5), name


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("5.png: gone"), r"(?s)^5\.png: gone\n.*last\.pth is whole and has iteration 5: --resume goes on"),
        (KeyError("a transform"), "a transform"),
    ],
)
def test_a_batch_that_does_not_come_costs_nothing_that_was_done(tmp_path, error, message):
    def lose_an_image(start):
        yield from toy_batches(5, start)
        raise error

    whole = toy_trainer(tmp_path / "whole")
    whole.train()
    part = toy_trainer(tmp_path / "part", loader=lose_an_image)
    with pytest.raises(type(error), match=message):
        part.train()
    rest = toy_trainer(tmp_path / "part", seed=99)
    rest.resume(rest.last_checkpoint)
    assert rest.iteration == 5
    rest.train()
    assert_equal(weights_of(rest), weights_of(whole))


def test_an_evaluation_that_fails_says_what_is_safe(tmp_path):
    def evaluate(model):
        raise UserError("5.png: gone")

    trainer = toy_trainer(tmp_path, evaluate=evaluate, eval_every=3)
    with pytest.raises(UserError, match=r"^5\.png: gone\n.*last\.pth is whole and has iteration 3: --resume goes on"):
        trainer.train()


def test_an_interrupted_run_says_how_to_go_on(tmp_path, log):
    toy_trainer(tmp_path, loss=CallAt(3, interrupt)).train()
    assert "stopped after 3 of 8 iterations" in log[-1]
    assert "--resume" in log[-1]


def test_saves_come_as_often_as_asked(tmp_path, monkeypatch):
    trainer = toy_trainer(tmp_path, save_every=3)
    saved = []
    save = trainer.save
    monkeypatch.setattr(trainer, "save", lambda: (saved.append(trainer.iteration), save()))
    trainer.train()
    assert saved == [3, 6, 8]


@pytest.mark.parametrize(
    ("scores", "best", "at"),
    [
        ([-1.0, -1.0, -1.0, -1.0], -1.0, 8),
        ([0.0, 0.0, 0.0, 0.0], 0.0, 8),
        ([0.2, 0.2, 0.1, 0.0], 0.2, 4),
        ([math.nan, 0.1, math.nan, -1.0], 0.1, 4),
    ],
)
def test_of_equal_scores_the_later_weights_are_best(tmp_path, log, scores, best, at):
    left = iter(scores)
    toy_trainer(tmp_path, evaluate=lambda model: {"AP": next(left)}, eval_every=2).train()
    state = load_checkpoint(tmp_path / "best.pth")
    assert (state["best"], state["iteration"]) == (best, at)
    assert sum("best so far" in line for line in log) == sum(score == best >= 0 for score in scores)


def test_only_the_model_runs_in_mixed_precision(tmp_path):
    seen = {}

    class Watch(ToyLoss):
        def forward(self, predictions, anchors, truths):
            seen["predictions"], seen["autocast"] = predictions.dtype, torch.is_autocast_enabled("cpu")
            return super().forward(predictions, anchors, truths)

    trainer = toy_trainer(tmp_path, loss=Watch(), amp_dtype=torch.bfloat16, iterations=1)
    trainer.train()
    assert seen == {"predictions": torch.bfloat16, "autocast": False}
    assert all(parameter.dtype is torch.float32 for parameter in trainer.step.model.parameters())


@pytest.mark.parametrize(
    ("every", "iterations", "expected"),
    [
        (35.925, 180, [36, 72, 108, 144, 180]),  # 6 of 30 epochs of 479 images in batches of 80
        (35.925, 183, [36, 72, 108, 144, 183]),  # none again so near to the last
        (35.925, 184, [36, 72, 108, 144, 180, 184]),
        (2.4, 8, [2, 5, 7, 8]),
        (1.0, 3, [1, 2, 3]),
        (9.0, 5, [5]),
        (None, 5, [5]),
    ],
)
def test_evaluations_keep_step_with_the_epochs(tmp_path, every, iterations, expected):
    trainer = toy_trainer(tmp_path, evaluate=lambda model: {"AP": 0.1}, eval_every=every, iterations=iterations)
    found = []
    for trainer.iteration in range(iterations + 1):
        if trainer._evaluation_due():
            found.append(trainer.iteration)
    assert found == expected


def test_evaluation_sees_the_average_and_decides_the_best(tmp_path):
    scores, seen = iter([0.1, 0.4, 0.3, 0.2]), []

    def evaluate(model):
        seen.append(model)
        model.eval()
        return {"AP": next(scores)}

    trainer = toy_trainer(tmp_path, evaluate=evaluate, eval_every=2, ema_decay=0.9)
    trainer.train()
    assert all(model is trainer.step.ema.model for model in seen)
    assert trainer.step.model.training
    best = load_checkpoint(tmp_path / "best.pth")
    assert (best["iteration"], best["best"]) == (4, 0.4)
    assert load_checkpoint(tmp_path / "last.pth")["best"] == 0.4
    assert [row["AP"] for row in rows(tmp_path)] == ["0.1", "0.4", "0.3", "0.2"]


def test_the_best_may_be_the_lowest_and_no_score_never_is(tmp_path):
    scores = iter([-1.0, 0.6, 0.3, -1.0, 0.3, 0.5, math.nan, 0.4])
    settings = {"eval_every": 1, "best_by": "MR", "lower_is_better": True}
    trainer = toy_trainer(tmp_path, evaluate=lambda model: {"MR": next(scores)}, **settings)
    trainer.train()
    best = load_checkpoint(tmp_path / "best.pth")
    assert (best["iteration"], best["best"]) == (5, 0.3)


@pytest.mark.parametrize(
    ("scores", "end"),
    [
        ([0.1, 0.3, 0.2, 0.2, 0.9], 4),
        ([0.1, 0.1, 0.1], 3),  # as good is no better
        ([0.3, 0.2, 0.4, 0.3, 0.5, 0.4, 0.6, 0.5], 8),
        ([-1.0, math.nan, -1.0], 3),
    ],
)
def test_patience_ends_a_training_that_gets_no_better(tmp_path, log, scores, end):
    trainer = toy_trainer(tmp_path, evaluate=scored(scores), eval_every=1, patience=2)
    assert trainer.train(), "that is an end as any other"
    assert trainer.iteration == load_checkpoint(tmp_path / "last.pth")["iteration"] == end
    assert any("ended early: at iteration" in line for line in log) is (end < 8)


def test_the_start_is_logged(tmp_path, log):
    model = ToyModel()
    model.body[0].requires_grad_(False)
    toy_trainer(
        tmp_path, model=model, iterations=1, iterations_per_epoch=2.5, loader=lambda start: toy_batches(1)
    ).train()
    text = "".join(log)
    assert "model: 130 parameters; 18 train, 112 are frozen" in text
    assert "iterations 0 to 1, 2.5 per epoch; SGD, lr 0.1, x0.1 at iterations 6, after a warm-up of 3" in text
