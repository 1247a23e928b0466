"""`batch_size auto`: the hardest batch is tried before the training, of which nothing is seen in it."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from otadet.apps import fit_batch
from otadet.apps.fit_batch import with_fitting_batch
from otadet.apps.hardest_batch import hardest_batch
from otadet.apps.start import Start
from otadet.apps.train import configured, parse_args
from otadet.apps.training import train_experiment
from otadet.data.transforms import Compose, Letterbox, Mosaic, MultiScale, RandomFlip, RandomTranspose, Until
from otadet.data.transforms.largest import largest_sizes
from otadet.engine.checkpoint import load_checkpoint
from otadet.engine.memory import Fit
from otadet.engine.precision import choose_precision
from otadet.errors import UserError
from otadet.exp import FCOS, BaseExp, ResizeShortestEdge, TorchvisionBackbone, load_exp
from otadet.exp.fine_tune import network_of
from otadet.exp.load import unread
from otadet.losses import DetectionLoss
from tests.helpers.tiny_experiment import write_tiny_experiment
from tests.helpers.toy_runs import metrics_of

CPU = torch.device("cpu")
PIXELS = 64 * 64
WORDS = ["length", "3iterations", "run.log_every", "1", "run.eval_every", "0", "freeze_norms", "true"]
WORDS += ["model.backbone.width", "8"]


class Small:
    """A memory with room for so many images of 64 x 64 pixels."""

    def __init__(self, images: int) -> None:
        self.room = images * PIXELS
        self.seen: list[tuple[int, int, tuple[int, int]]] = []
        """(images at once, batches, size) of each trial."""

    def peak(self, call: Callable[[], None]) -> int | None:
        call()
        images, _, (height, width) = self.seen[-1]
        return images * height * width


@pytest.fixture(autouse=True)
def nothing_to_collect(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of many tests that takes long."""
    monkeypatch.setattr(fit_batch, "let_go", lambda device: None)


@pytest.fixture
def exp(tmp_path: Path) -> BaseExp:
    tiny = load_exp(write_tiny_experiment(tmp_path).file)
    tiny.override([*WORDS, "batch_size", "4", "batch_size", "auto"])
    return tiny


def watched(memory: Small, monkeypatch: pytest.MonkeyPatch, *, steps: bool = True) -> Small:
    make_steps = fit_batch._make_steps

    def see(step, batch):
        memory.seen.append((len(batch) // step.accumulate, step.accumulate, tuple(batch.images.shape[2:])))
        if steps:
            make_steps(step, batch)

    monkeypatch.setattr(fit_batch, "_make_steps", see)
    return memory


def fitted(exp: BaseExp, memory: Small, began_with: dict | None = None) -> tuple[BaseExp, str]:
    return with_fitting_batch(exp, exp.build_train_dataset(), CPU, choose_precision(CPU, amp=False), began_with, memory)


@pytest.mark.parametrize(("room", "batch", "accumulate"), [(100, 4, 1), (3, 2, 2), (1, 1, 4)])
def test_the_batch_of_a_step_is_kept(exp: BaseExp, room: int, batch: int, accumulate: int, monkeypatch) -> None:
    memory = watched(Small(room), monkeypatch, steps=False)
    chosen, reason = fitted(exp, memory)
    assert (chosen.run.batch_size, chosen.run.accumulate, chosen.run.auto_batch) == (batch, accumulate, False)
    assert replace(chosen.run, batch_size=4, accumulate=1, auto_batch=True) == exp.run
    assert reason.startswith(f"run.batch_size {batch} run.accumulate {accumulate}: {batch} of the hardest images")
    assert len(reason.splitlines()) == 1
    # Two of the batches of a step: gradients of the first are there then.
    assert memory.seen[:2] == [(1, 2, (32, 32)), (1, 2, (64, 64))]


def test_a_trial_is_whole_steps_of_the_training(exp: BaseExp, monkeypatch) -> None:
    steps = []
    make = fit_batch.build_step

    def seen(*arguments):
        steps.append(make(*arguments))
        return steps[-1]

    monkeypatch.setattr(fit_batch, "build_step", seen)
    exp.override(["run.ema", "0.9"])
    fitted(exp, watched(Small(100), monkeypatch))
    for step in steps:
        assert any("momentum_buffer" in state for state in step.optimizer.state.values())
        fresh = exp.build_model(2)
        assert step.ema is not None
        assert len(fresh.state_dict()) == len(step.ema.model.state_dict())


class TooLarge(DetectionLoss):
    """As of fp16 in its first steps, none of which is made."""

    def sums(self, predictions, anchors, truths):
        sums = super().sums(predictions, anchors, truths)
        return replace(sums, terms={name: term * float("inf") for name, term in sums.terms.items()})


@pytest.mark.parametrize("words", [["optimizer", "sgd"], ["optimizer", "adamw"]])
def test_a_step_that_is_not_made_has_the_averages_too(exp: BaseExp, words: list[str], monkeypatch) -> None:
    exp.override(words)
    exp.build_loss = lambda: TooLarge(exp.assigner)  # type: ignore[method-assign]
    step = fit_batch.build_step(exp, exp.build_model(2), 4, CPU, choose_precision(CPU, amp=False))
    before = {name: weight.clone() for name, weight in step.model.named_parameters()}
    batch = hardest_batch(exp, exp.build_train_dataset(), 4, 32).batch(4, (64, 64), CPU)
    fit_batch._make_steps(step, batch)
    trained = [weight for weight in step.model.parameters() if weight.requires_grad]
    averages = [value for state in step.optimizer.state.values() for value in state.values() if value.dim()]
    assert len(averages) == len(trained) * (2 if "adamw" in words else 1)
    assert all(torch.equal(before[name], weight) for name, weight in step.model.named_parameters())


def test_the_training_is_that_with_the_numbers_given_to_the_bit(exp: BaseExp, tmp_path: Path, monkeypatch) -> None:
    memory = watched(Small(3), monkeypatch)
    monkeypatch.setattr(fit_batch, "HostMeter", lambda processes, cached: memory)
    generators = random.getstate(), np.random.get_state()[1].tolist()
    assert train_experiment(exp, CPU, Start(tmp_path / "auto"))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == generators
    assert memory.seen
    by_hand = load_exp(tmp_path / "tiny.py")
    by_hand.override([*WORDS, "batch_size", "2", "accumulate", "2"])
    assert train_experiment(by_hand, CPU, Start(tmp_path / "hand"))
    one, other = (load_checkpoint(tmp_path / name / "last.pth") for name in ("auto", "hand"))
    for name, weight in one["model"].items():
        assert torch.equal(other["model"][name], weight), name
    assert torch.equal(one["rng"][0]["cpu"], other["rng"][0]["cpu"])
    assert one["parts"] == other["parts"]
    assert metrics_of(tmp_path / "auto") == metrics_of(tmp_path / "hand")
    log = (tmp_path / "auto" / "train.log").read_text(encoding="utf-8")
    assert log.count("batch auto: run.batch_size 2 run.accumulate 2: ") == 1
    assert "batch: 2 images, 2 batches and so 4 images per step" in log
    # Resumed, it goes on with them, whatever memory there is now.
    monkeypatch.setattr(fit_batch, "HostMeter", lambda *numbers: pytest.fail("measured again"))
    exp.override(["length", "4iterations"])
    assert train_experiment(exp, CPU, Start(tmp_path / "auto", resume="auto"))
    assert load_checkpoint(tmp_path / "auto" / "last.pth")["parts"]["run"]["accumulate"] == 2


def test_a_run_that_began_with_another_batch_is_no_reason(exp: BaseExp, monkeypatch) -> None:
    memory = watched(Small(3), monkeypatch, steps=False)
    before = {"run.batch_size": 1, "run.accumulate": 4}
    assert fitted(exp, memory, before)[1] == "run.batch_size 1 run.accumulate 4, as the run began"
    for other in ({"run.batch_size": 16}, {"run.batch_size": "4"}, {}):
        assert fitted(exp, memory, other)[0].run.accumulate == 2


def test_where_nothing_fits_is_one_line(exp: BaseExp, monkeypatch) -> None:
    message = r"batch_size auto: 1 of the hardest images at once, 64 x 64 px with up to \d+ boxes each, need more than"
    with pytest.raises(UserError, match=message) as no:
        fitted(exp, watched(Small(0), monkeypatch, steps=False))
    assert len(str(no.value).splitlines()) == 1
    exp.override(["run.freeze_norms", "false"])
    with pytest.raises(UserError, match=r"2 of the hardest images at once.* or run.freeze_norms true"):
        fitted(exp, watched(Small(1), monkeypatch, steps=False))


def test_a_loss_that_cannot_be_added_up_has_its_batch_or_none(exp: BaseExp, monkeypatch) -> None:
    class Own(DetectionLoss):
        def forward(self, predictions, anchors, truths):
            return super().forward(predictions, anchors, truths)

    exp.build_loss = lambda: Own(exp.assigner)  # type: ignore[method-assign]
    assert fitted(exp, watched(Small(4), monkeypatch, steps=False))[0].run.batch_size == 4
    with pytest.raises(UserError, match=r"run.accumulate: Own does not say"):
        fitted(exp, watched(Small(3), monkeypatch, steps=False))


def test_a_device_whose_memory_is_unknown_is_refused(exp: BaseExp) -> None:
    with pytest.raises(UserError, match="the memory of mps cannot be measured; give batch_size a number"):
        fit_batch._meter_of(torch.device("mps"))


def test_processes_agree_on_the_least(exp: BaseExp, monkeypatch) -> None:
    found = []
    monkeypatch.setattr(fit_batch, "gather_objects", lambda own: [own, Fit(1, 5, 10)] if own else found.append(1))
    assert fitted(exp, watched(Small(100), monkeypatch, steps=False))[0].run.accumulate == 4


# What is hardest.


def test_the_largest_sizes_of_every_kind_of_transform() -> None:
    multi = MultiScale((Letterbox((64, 96)), Letterbox((128, 64)), ResizeShortestEdge((32, 100), 200)))
    assert largest_sizes(multi, {(10, 20), (50, 50)}) == {(64, 96), (128, 64), (100, 200), (100, 100)}
    assert largest_sizes(Compose((Until(0.5, Letterbox((64, 64))), RandomFlip())), {(10, 20)}) == {(10, 20), (64, 64)}
    assert largest_sizes(Mosaic((80, 90), p=0.01, pad_value=(0, 0, 0)), {(10, 20)}) == {(10, 20), (80, 90)}
    assert largest_sizes(RandomTranspose(0.5), {(10, 20)}) == {(10, 20), (20, 10)}


@dataclass(frozen=True)
class Doubled:
    """Of which nobody knows how large its result is."""

    def __call__(self, sample, rng):
        times = int(rng.integers(1, 3))
        image = np.repeat(np.repeat(sample.image, times, 0), times, 1)
        return replace(sample, image=image)


def test_a_transform_that_does_not_say_is_called() -> None:
    assert max(largest_sizes(Compose((Letterbox((40, 30), (0, 0, 0)), Doubled())), {(10, 20), (7, 9)})) == (80, 60)


def test_the_hardest_batch_has_the_most_boxes_and_the_largest_shape(exp: BaseExp) -> None:
    train_set = exp.build_train_dataset()
    counts = sorted(train_set.boxes_per_image().tolist(), reverse=True)
    exp.train_resize = ResizeShortestEdge((32, 64, 100), 120)
    hardest = hardest_batch(exp, train_set, 3, 32)
    assert hardest.size == (128, 128)
    assert [len(truth.boxes) for truth in hardest.truths] == counts[:3]
    images = hardest.batch(2, (64, 96), CPU).images
    assert images.shape == (2, 3, 64, 96)
    # Batch norms of one colour are divided by next to nothing, and deep networks' gradients overflow.
    assert images.float().std(dim=(2, 3)).min() > 50
    assert max(truth.boxes.max() for truth in hardest.truths) > 64, "at the size that they have there"
    assert hardest.sizes(32) == [(32, 32), (64, 64), (128, 128)]
    batch = hardest.batch(5, (64, 64), CPU)
    assert [len(truth.boxes) for truth in batch.truths] == [*counts[:3], *counts[:2]]
    torch.testing.assert_close(batch.truths[0].boxes, hardest.truths[0].boxes / 2)
    exp.augment = (Mosaic(),)
    joined = hardest_batch(exp, train_set, 2, 32)
    assert [len(truth.boxes) for truth in joined.truths] == [sum(counts), sum(counts)]


def test_wide_and_tall_images_share_no_batch_where_they_are_grouped(exp: BaseExp, monkeypatch) -> None:
    train_set = exp.build_train_dataset()
    train_set.sizes = np.array([[50, 100], [100, 40], [60, 60], [50, 100]])
    exp.train_resize = ResizeShortestEdge((64,), 128)
    assert hardest_batch(exp, train_set, 2, 32).size == (128, 64)
    exp.override(["group_by_aspect", "false"])
    assert hardest_batch(exp, train_set, 2, 32).size == (128, 128)


# The setting.


def test_the_word_keeps_the_number(exp: BaseExp) -> None:
    for words in (["batch_size", "auto"], ["run.batch_size", " Auto"], ["auto_batch", "true"]):
        plain = BaseExp()
        plain.override(words)
        assert (plain.run.batch_size, plain.run.auto_batch) == (16, True)
    assert (exp.run.batch_size, exp.run.auto_batch) == (4, True)
    for words in (["-b", "auto"], ["batch_size", "auto"]):
        mine = configured(parse_args(["-f", "my_data", *words]))
        assert mine.run.auto_batch
        assert mine.is_free("run.batch_size"), "it is still chosen for the data"
    for text in ("many", "0", "-1"):
        with pytest.raises(UserError, match=r"run\.batch_size"):
            configured(parse_args(["-b", text]))


def test_a_step_has_no_more_images_than_anybody_means() -> None:
    with pytest.raises(UserError, match=r"run.accumulate 65536: with batch_size 16 a step would have 1,048,576 images"):
        BaseExp().override(["accumulate", "65536"])
    for text in ("0", "-2", "1.5", "auto"):
        with pytest.raises(UserError, match=r"^run\.accumulate"):
            BaseExp().override(["accumulate", text])


def test_what_a_cache_is_going_to_take_is_left_to_it(exp: BaseExp, monkeypatch) -> None:
    asked = []
    memory = watched(Small(100), monkeypatch, steps=False)
    monkeypatch.setattr(fit_batch, "HostMeter", lambda *numbers: asked.append(numbers) or memory)
    for words in ([], ["run.cache", "memory"], ["run.cache_gb", "0.00001"]):
        exp.override(words)
        with_fitting_batch(exp, exp.build_train_dataset(), CPU, choose_precision(CPU, amp=False))
    assert asked == [(1, 0), (1, 4 * 64 * 64 * 3), (1, 10_000)]


def test_few_images_for_batch_norms_are_said(exp: BaseExp, monkeypatch) -> None:
    exp.override(["run.freeze_norms", "false"])
    memory = watched(Small(3), monkeypatch, steps=False)
    assert "batch norms see 2 at a time" in fitted(exp, memory)[1]
    exp.override(["run.freeze_norms", "true"])
    assert "batch norms" not in fitted(exp, memory)[1]


@pytest.mark.parametrize(
    ("kind", "images", "seen"), [("cpu", 2, 2), ("cuda", 2, None), ("cuda", 1, 2), ("cpu", 4, None)]
)
def test_batch_norms_of_several_gpus_see_the_batch_of_all(
    exp: BaseExp, kind: str, images: int, seen: int | None, monkeypatch
) -> None:
    exp.override(["batch_size", "16"])
    train_set = exp.build_train_dataset()
    found = hardest_batch(exp, train_set, 8, 32), Fit(images, 5, 10, 2)
    monkeypatch.setattr(fit_batch, "world_size", lambda: 2)
    monkeypatch.setattr(fit_batch, "_untouched", lambda device: nullcontext())
    monkeypatch.setattr(fit_batch, "_search", lambda *arguments: found)
    chosen, reason = with_fitting_batch(exp, train_set, torch.device(kind), choose_precision(CPU, amp=False))
    assert (chosen.run.batch_size, chosen.run.accumulate) == (2 * images, 8 // images)
    assert (f"batch norms see {seen} at a time" in reason) == (seen is not None) == ("batch norms" in reason)


def test_norms_that_a_backbone_keeps_by_itself_need_no_two_images(exp: BaseExp) -> None:
    for weights, frozen_norms, numbers in (
        ("imagenet", None, [1, 2, 4]),
        ("imagenet", False, [2, 4]),
        (None, None, [2, 4]),
    ):
        own = copy(exp)
        backbone = TorchvisionBackbone("mobilenet_v3_small", weights, frozen_norms)
        own.model, own.run = FCOS(backbone, channels=16, tower_depth=1), replace(exp.run, freeze_norms=False)
        assert fit_batch._numbers(own, unread(own).build_model(2), 4) == numbers
        assert network_of(own, 2)[1] == (numbers[0] == 2)


def test_images_of_unknown_size_are_left_out(exp: BaseExp) -> None:
    train_set = exp.build_train_dataset()
    train_set.sizes = np.array([[0, 0], [64, 64], [0, 0], [0, 0]])
    hardest = hardest_batch(exp, train_set, 4, 32)
    assert hardest.size == (64, 64)
    assert all(truth.boxes.isfinite().all() for truth in hardest.truths)
    train_set.sizes = np.zeros((4, 2), np.int64)
    with pytest.raises(UserError, match=r"the sizes of the images are not known; set data.prescan true"):
        hardest_batch(exp, train_set, 4, 32)
