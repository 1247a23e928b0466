import csv
import math
import os
import signal
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from loguru import logger
from torch import nn

from otadet.engine.checkpoint import load_checkpoint, save_checkpoint
from otadet.engine.guard import NonFiniteError
from otadet.engine.trainer import Trainer
from otadet.errors import UserError
from otadet.optim.optimizer import SGD, AdamW
from tests.helpers.toy_training import ToyLoss, ToyModel, toy_batches, toy_trainer


@pytest.fixture
def log():
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    yield lines
    logger.remove(sink)


class CallAt(nn.Module):
    """A loss that does something in its n-th call, 1 for the first."""

    def __init__(self, call: int, action) -> None:
        super().__init__()
        self.left, self.action, self.loss = call, action, ToyLoss()

    def forward(self, predictions, anchors, truths):
        terms = self.loss(predictions, anchors, truths)
        self.left -= 1
        return self.action(terms) or terms if self.left == 0 else terms


def interrupt(terms):
    os.kill(os.getpid(), signal.SIGINT)


def make_nan(terms):
    return {**terms, "far": terms["far"] * torch.nan}


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    step = trainer.step
    averages = step.ema.model.state_dict() if step.ema else {}
    return {**step.model.state_dict(), **{f"ema {name}": tensor for name, tensor in averages.items()}}


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def metrics_of(folder: Path) -> list[dict[str, str]]:
    """All but the times, which no two runs have alike."""
    times = ("iterations_per_second", "data_ms", "compute_ms")
    return [{name: value for name, value in row.items() if name not in times} for row in rows(folder)]


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


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


def test_a_non_finite_loss_stops_the_run_and_touches_nothing(tmp_path):
    trainer = toy_trainer(tmp_path, loss=CallAt(5, make_nan), save_every=1, ema_decay=0.9)
    with pytest.raises(NonFiniteError, match="iteration 5") as caught:
        trainer.train()
    assert "near 0." in str(caught.value)
    assert "far nan" in str(caught.value)
    assert "weights were not touched" in str(caught.value)
    assert str(caught.value).endswith("last.pth is whole and has iteration 4: --resume goes on from there")
    assert "image 16.png, image 17.png, image 18.png, image 19.png" in str(caught.value)
    saved = load_checkpoint(trainer.last_checkpoint)
    assert saved["iteration"] == 4
    assert_equal(trainer.step.model.state_dict(), saved["model"])
    assert isinstance(caught.value, UserError)


class Cliff(ToyLoss):
    """Finite at any finite point; in its n-th call the gradient of one output is `slope`."""

    def __init__(self, call: int, slope: float) -> None:
        super().__init__()
        self.left, self.slope = call, slope

    def forward(self, predictions, anchors, truths):
        terms = super().forward(predictions, anchors, truths)
        self.left -= 1
        if self.left == 0:
            output = predictions[0, 0].clone()
            output.register_hook(lambda gradient: torch.full_like(gradient, self.slope))
            terms["far"] = terms["far"] + 0 * output
        return terms


@pytest.mark.parametrize("slope", [torch.inf, torch.nan, 1e25, -1e25])
@pytest.mark.parametrize(("optimizer", "fused"), [("sgd", False), ("adamw", False), ("sgd", True), ("adamw", True)])
def test_a_gradient_that_is_not_finite_touches_nothing(tmp_path, slope, optimizer, fused):
    """Fused optimizers leave the update out by themselves, as on CUDA; the host hears of it later."""
    model = ToyModel()
    chosen = {"sgd": SGD, "adamw": AdamW}[optimizer](lr=0.1, weight_decay=0.0, weight_decay_on="all").build(model)
    for group in chosen.param_groups:
        group["fused"] = fused
    chosen._step_supports_amp_scaling = fused
    trainer = toy_trainer(tmp_path, model=model, optimizer=chosen, loss=Cliff(5, slope), save_every=1)
    with pytest.raises(NonFiniteError, match=r"gradient is not finite.* in iteration 5") as caught:
        trainer.train()
    assert "image 16.png, image 17.png, image 18.png, image 19.png" in str(caught.value)
    saved = load_checkpoint(trainer.last_checkpoint)
    assert saved["iteration"] == 4
    assert_equal(trainer.step.model.state_dict(), saved["model"])


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_of_the_last_iteration_is_noticed_too(tmp_path, fused):
    model = ToyModel()
    chosen = SGD(lr=0.1, weight_decay=0.0, weight_decay_on="all").build(model)
    chosen.param_groups[0]["fused"] = chosen._step_supports_amp_scaling = fused
    with pytest.raises(NonFiniteError, match=r"(?s)in iteration 8.*\nThe run has saved no checkpoint yet$"):
        toy_trainer(tmp_path, model=model, optimizer=chosen, loss=Cliff(8, torch.inf)).train()
    assert not (tmp_path / "last.pth").exists()


def test_weights_that_were_not_finite_before_are_told_from_a_bad_batch(tmp_path):
    trainer = toy_trainer(tmp_path)
    next(trainer.step.model.parameters()).data.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="weights were not finite before"):
        trainer.train()
    assert not list(tmp_path.glob("*.pth"))


def test_a_gradient_that_is_only_too_large_is_clipped(tmp_path):
    def step(name: str, slope: float) -> torch.Tensor:
        torch.manual_seed(0)
        model = ToyModel(dropout=0.0)
        before = nn.utils.parameters_to_vector(model.parameters()).detach()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        trainer = toy_trainer(
            tmp_path / name, model=model, optimizer=optimizer, loss=Cliff(1, slope), grad_clip=0.5, iterations=1
        )
        trainer.step.schedule = lambda iteration: 1.0
        trainer.train()
        return nn.utils.parameters_to_vector(model.parameters()).detach() - before

    assert torch.allclose(step("large", 1e25), step("usual", 1e10), rtol=1e-4, atol=1e-7)
    assert step("again", 1e25).norm().item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda step: next(step.ema.model.parameters()), "an averaged weight"),
        (lambda step: next(iter(step.optimizer.state.values()))["exp_avg_sq"], "one of the optimizer's averages"),
    ],
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_averages_that_are_not_finite_are_not_saved(tmp_path, part, message, value):
    model = ToyModel()
    trainer = toy_trainer(
        tmp_path,
        model=model,
        optimizer=AdamW(lr=0.1, weight_decay=0.0, weight_decay_on="all").build(model),
        ema_decay=0.9,
    )
    trainer.train()
    before = trainer.last_checkpoint.read_bytes()
    part(trainer.step).data.view(-1)[-1] = value
    with pytest.raises(NonFiniteError, match=rf"{message}.* is not finite.*last\.pth is whole and has iteration 8"):
        trainer.save()
    assert trainer.last_checkpoint.read_bytes() == before


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


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    trainer = toy_trainer(tmp_path)
    trainer.save()
    before = trainer.last_checkpoint.read_bytes()
    with torch.no_grad():
        next(trainer.step.model.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="a weight is not finite"):
        trainer.save()
    assert trainer.last_checkpoint.read_bytes() == before


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


def test_an_fp16_gradient_that_overflows_is_left_out(tmp_path):
    class Steep(ToyLoss):
        def forward(self, predictions, anchors, truths):
            return {name: 100 * term for name, term in super().forward(predictions, anchors, truths).items()}

    trainer = toy_trainer(tmp_path, loss=Steep(), amp_dtype=torch.float16, iterations=1)
    before = {name: tensor.clone() for name, tensor in trainer.step.model.state_dict().items()}
    scale = trainer.step.scaler.get_scale()
    assert trainer.train()
    assert_equal(trainer.step.model.state_dict(), before)
    assert trainer.step.scaler.get_scale() < scale


def test_the_gradient_is_clipped(tmp_path):
    model = ToyModel()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = toy_trainer(tmp_path, model=model, optimizer=optimizer, grad_clip=0.01, iterations=1)
    trainer.step.schedule = lambda iteration: 1.0
    trainer.train()
    step = sum((now - then).square().sum() for now, then in zip(model.parameters(), before, strict=True)).sqrt()
    assert step.item() == pytest.approx(0.01, rel=1e-3)


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


def scored(scores):
    """An evaluation that finds these scores, one after the other."""
    left = iter(scores)
    return lambda model: {"AP": next(left)}


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


def test_the_start_is_logged(tmp_path, log):
    model = ToyModel()
    model.body[0].requires_grad_(False)
    toy_trainer(
        tmp_path, model=model, iterations=1, iterations_per_epoch=2.5, loader=lambda start: toy_batches(1)
    ).train()
    text = "".join(log)
    assert "model: 130 parameters; 18 train, 112 are frozen" in text
    assert "iterations 0 to 1, 2.5 per epoch; SGD, lr 0.1, x0.1 at iterations 6, after a warm-up of 3" in text


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
