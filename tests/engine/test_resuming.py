"""A run that was interrupted, died or ended, and goes on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from otadet.engine.checkpoint import load_checkpoint, save_checkpoint
from otadet.engine.trainer import Trainer
from otadet.errors import UserError
from otadet.optim.optimizer import SGD, AdamW
from tests.helpers.toy_runs import CallAt, assert_equal, interrupt, metrics_of, rows, scored, weights_of
from tests.helpers.toy_training import ToyModel, toy_trainer


@pytest.mark.parametrize("stop_after", [1, 2, 5, 7])
@pytest.mark.parametrize("amp_dtype", [None, torch.bfloat16, torch.float16])
def test_interrupted_is_uninterrupted(tmp_path, stop_after, amp_dtype):
    options = {"ema_decay": 0.9, "amp_dtype": amp_dtype, "grad_clip": 1.0}
    whole = toy_trainer(tmp_path / "whole", **options)
    assert whole.train()

    part = toy_trainer(tmp_path / "part", loss=CallAt(stop_after, interrupt), **options)
    assert not part.train()
    assert part.iteration == stop_after
    rest = toy_trainer(tmp_path / "part", seed=99, **options)
    rest.resume(rest.last_checkpoint)
    assert rest.train()

    assert_equal(weights_of(rest), weights_of(whole))
    assert metrics_of(tmp_path / "part") == metrics_of(tmp_path / "whole")


@pytest.mark.parametrize("moment", ["loss", "evaluation", "after the score"])
def test_metrics_are_those_of_an_uninterrupted_run(tmp_path, moment):
    """An interval of 3, evaluations and saves of 2: stops come in the midst of intervals, and deaths after rows."""

    class Dead(Exception):
        pass

    def evaluator(die_at: int | None = None):
        def evaluate(model):
            if trainer.iteration == die_at:
                raise Dead
            return {"AP": 0.1 * trainer.iteration}

        return evaluate

    options = {"iterations": 8, "log_every": 3, "eval_every": 2, "save_every": 2}
    trainer = toy_trainer(tmp_path / "whole", evaluate=evaluator(), **options)
    assert trainer.train()

    trainer = toy_trainer(tmp_path / "part", evaluate=evaluator(4 if moment == "evaluation" else None), **options)
    if moment == "after the score":
        save = trainer.save

        def dying_save(path=None):
            if trainer.iteration == 4 and trainer._evaluated_at == 4 and path is None:
                raise Dead
            save(path)

        trainer.save = dying_save
    if moment == "loss":
        trainer.step.loss = CallAt(5, interrupt)
        assert not trainer.train()
    else:
        with pytest.raises(Dead):
            trainer.train()
    trainer = toy_trainer(tmp_path / "part", seed=99, evaluate=evaluator(), **options)
    trainer.resume(trainer.last_checkpoint)
    assert trainer.train()
    assert metrics_of(tmp_path / "part") == metrics_of(tmp_path / "whole")
    assert [row["iteration"] for row in metrics_of(tmp_path / "whole")] == ["2", "3", "4", "6", "8"]


def test_a_checkpoint_without_the_sums_of_the_losses_is_gone_on_with(tmp_path):
    """As earlier versions wrote them."""
    trainer = toy_trainer(tmp_path, iterations=3)
    trainer.train()
    state = load_checkpoint(trainer.last_checkpoint)
    del state["interval"]
    torch.save(state, trainer.last_checkpoint)
    rest = toy_trainer(tmp_path)
    rest.resume(trainer.last_checkpoint)
    assert rest.train()


def test_adamw_resumes_exactly(tmp_path):
    def trainer(folder: str, seed: int = 0, **options) -> Trainer:
        torch.manual_seed(seed)
        model = ToyModel()
        return toy_trainer(
            tmp_path / folder,
            model=model,
            optimizer=AdamW(lr=0.1, weight_decay=0.0, weight_decay_on="all").build(model),
            **options,
        )

    whole = trainer("whole")
    whole.train()
    trainer("part", loss=CallAt(3, interrupt)).train()
    rest = trainer("part", seed=99)
    rest.resume(rest.last_checkpoint)
    rest.train()
    assert_equal(weights_of(rest), weights_of(whole))


def test_a_run_that_died_resumes_from_its_last_save(tmp_path):
    def die(terms):
        raise MemoryError

    whole = toy_trainer(tmp_path / "whole")
    whole.train()
    part = toy_trainer(tmp_path / "part", loss=CallAt(6, die), save_every=3)
    with pytest.raises(MemoryError):
        part.train()
    rest = toy_trainer(tmp_path / "part", seed=99)
    rest.resume(rest.last_checkpoint)
    assert rest.iteration == 3
    rest.train()
    assert_equal(weights_of(rest), weights_of(whole))
    assert [row["iteration"] for row in rows(tmp_path / "part")] == ["2", "4", "6", "8"]


def test_the_predecessor_is_kept_and_can_be_resumed(tmp_path):
    whole = toy_trainer(tmp_path / "whole")
    whole.train()
    part = toy_trainer(tmp_path / "part", save_every=3)
    part.train()
    assert load_checkpoint(tmp_path / "part" / "last.previous.pth")["iteration"] == 6
    data = bytearray(part.last_checkpoint.read_bytes())
    data[len(data) // 2] ^= 1
    part.last_checkpoint.write_bytes(data)
    rest = toy_trainer(tmp_path / "part", seed=99)
    with pytest.raises(UserError, match=r"last\.pth: cut short or damaged.*predecessor .*last\.previous\.pth"):
        rest.resume(rest.last_checkpoint)
    rest.resume(tmp_path / "part" / "last.previous.pth")
    # The damaged file must not take the place of the whole one.
    rest.save()
    assert load_checkpoint(tmp_path / "part" / "last.previous.pth")["iteration"] == 6
    rest.train()
    assert_equal(weights_of(rest), weights_of(whole))
    assert metrics_of(tmp_path / "part") == metrics_of(tmp_path / "whole")


def test_patience_goes_on_counting_in_a_resumed_run(tmp_path):
    part = toy_trainer(tmp_path, evaluate=scored([0.5, 0.4, 0.4]), eval_every=1, iterations=3, patience=3)
    part.train()
    # Into another folder, which has no best.pth.
    rest = toy_trainer(tmp_path / "other", evaluate=scored([0.45]), eval_every=1, patience=3)
    rest.resume(part.last_checkpoint)
    assert rest.train()
    assert rest.iteration == 4
    again = toy_trainer(tmp_path / "other", evaluate=scored([]), eval_every=1, patience=3)
    again.resume(rest.last_checkpoint)
    assert again.train(), "nothing is left to do"
    more = toy_trainer(tmp_path / "other", evaluate=scored([0.6, 0.5, 0.5, 0.5]), eval_every=1, patience=4)
    more.resume(rest.last_checkpoint)
    assert more.train()
    assert more.iteration == 8


def test_a_run_that_goes_on_by_another_score_begins_anew(tmp_path):
    toy_trainer(tmp_path, iterations=4, evaluate=lambda model: {"AP": 0.2}).train()
    settings = {"best_by": "MR", "lower_is_better": True}
    rest = toy_trainer(tmp_path, evaluate=lambda model: {"MR": 0.7}, **settings)
    rest.resume(rest.last_checkpoint)
    rest.train()
    assert (rest.best.value, load_checkpoint(tmp_path / "best.pth")["iteration"]) == (0.7, 8)


def test_an_evaluation_that_was_cut_short_is_made_up_for(tmp_path):
    def cut_short(model):
        raise KeyboardInterrupt

    part = toy_trainer(tmp_path, evaluate=cut_short, eval_every=4)
    with pytest.raises(KeyboardInterrupt):
        part.train()
    evaluated = []
    rest = toy_trainer(tmp_path, evaluate=lambda model: {"AP": evaluated.append(rest.iteration) or 0.5}, eval_every=4)
    rest.resume(part.last_checkpoint)
    rest.train()
    assert evaluated == [4, 8]


def test_resuming_a_finished_run_says_that_there_is_nothing_to_do(tmp_path, log):
    trainer = toy_trainer(tmp_path)
    trainer.train()
    again = toy_trainer(tmp_path)
    again.resume(trainer.last_checkpoint)
    assert again.train()
    assert "nothing to do" in log[-1]
    assert len(rows(tmp_path)) == 4


def test_a_finished_run_can_be_extended(tmp_path, log):
    toy_trainer(tmp_path, parts={"max_iterations": 8}).train()
    longer = toy_trainer(tmp_path, iterations=10, parts={"max_iterations": 10})
    longer.resume(longer.last_checkpoint)
    assert longer.train()
    assert longer.iteration == 10
    assert any("max_iterations 8 -> 10" in line and line.startswith("WARNING") for line in log)
    assert any("was to have 8 iterations and now has 10" in line for line in log)


def test_resuming_keeps_the_optimizer_options_of_the_experiment(tmp_path):
    toy_trainer(tmp_path, iterations=1).train()
    model = ToyModel()
    optimizer = SGD(lr=7, weight_decay=0.5, weight_decay_on="all").build(model)
    trainer = toy_trainer(tmp_path, model=model, optimizer=optimizer)
    trainer.resume(trainer.last_checkpoint)
    assert trainer.step.base_rates == [7]
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    assert all("momentum_buffer" in state for state in optimizer.state.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["cat", "dog"]}, r"trained for 1 classes \(toy\), but the data has 2 \(cat, dog\)"),
        ({"model": nn.Sequential(ToyModel())}, "does not fit the experiment's model: Missing key"),
    ],
)
def test_resuming_something_else_is_an_error(tmp_path, options, message):
    toy_trainer(tmp_path, iterations=1).train()
    trainer = toy_trainer(tmp_path, **options)
    with pytest.raises(UserError, match=message):
        trainer.resume(trainer.last_checkpoint)


def test_resuming_with_another_optimizer_is_an_error(tmp_path):
    toy_trainer(tmp_path, iterations=1).train()
    model = ToyModel()
    trainer = toy_trainer(
        tmp_path, model=model, optimizer=AdamW(lr=1, weight_decay=0.0, weight_decay_on="all").build(model)
    )
    with pytest.raises(UserError, match=r"saved with SGD.*AdamW"):
        trainer.resume(trainer.last_checkpoint)


def test_a_run_from_before_the_fields_goes_on_with_what_it_had_then(tmp_path):
    first = toy_trainer(tmp_path, iterations=2)
    first.train()
    state = load_checkpoint(first.last_checkpoint)
    older = {**state, "exp": {"lr": 0.1, "norm_weight_decay": True}, "parts": {}}
    save_checkpoint(first.last_checkpoint, {**older, "format": 1})
    decay = {"lr": 0.1, "weight_decay_on": "no_norms"}
    now = {"model": {"coarse_from": "p5", "anchor_offset": 0.0}, "optimizer": decay}
    asked = r"add model\.coarse_from c5 model\.anchor_offset 0\.5 optimizer\.weight_decay_on all to the command"
    with pytest.raises(UserError, match=asked):
        toy_trainer(tmp_path, parts=now).resume(first.last_checkpoint)
    as_then = {
        "model": {"coarse_from": "c5", "anchor_offset": 0.5},
        "optimizer": {**decay, "weight_decay_on": "all"},
    }
    assert toy_trainer(tmp_path, parts=as_then).resume(first.last_checkpoint) is None
