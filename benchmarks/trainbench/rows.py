"""One precision, eager or compiled: all that is measured of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from otadet.assigners import named_assigner
from otadet.profiling.meters import Meter

from .contestants import Ours, Setup, Theirs
from .counting import count_step
from .hardware import AMP_DTYPES, fp32_arithmetic
from .phases import PHASES, ArrivingBatch, PhaseClock, clocked
from .turns import Budget, Pair, in_turn, seconds_of

WARM_UP = 2
"""Steps: the first makes the optimizer's state, the second says what one costs."""
LONG_CALL = 5.0
"""Seconds of inference in both from which its first call is not repeated to measure it."""
SPLIT_STEPS = 5
"""At most, with a clock on the phases."""
RULES = ("ota", "simota", "atss")


@dataclass
class Row:
    """Seconds and bytes of one precision and mode; what the budget did not allow for is None or empty."""

    precision: str
    mode: str
    """"eager" or "compile"."""
    step: Pair | None = None
    """Without loading the data."""
    inference: Pair | None = None
    phases: dict[str, float] = field(default_factory=dict)
    """Phase -> median seconds, each with all of its work; in training a GPU overlaps them."""
    assignment: dict[str, dict[str, float]] = field(default_factory=dict)
    """Rule -> seconds, and share of the step with this rule."""
    memory: dict[str, int] = field(default_factory=dict)
    """Contestant -> peak bytes of weights, gradients, optimizer and activations."""
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Contestant -> what one step asks of the device."""
    left_out: list[str] = field(default_factory=list)
    """Lines that say what was not measured, and why."""

    def images_per_second(self, batch: int) -> float | None:
        """Of training, with the wait for the data."""
        if self.step is None or not self.phases:
            return None
        return batch / (median(self.step.ours) + self.phases["data"])

    def as_dict(self, batch: int) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = asdict(self)
        for name in ("step", "inference"):
            pair: Pair | None = getattr(self, name)
            values[name] = None if pair is None else {**pair.summary(), "seconds": asdict(pair)}
        return {**values, "images_per_second": self.images_per_second(batch)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Row:
        """Inverse of `as_dict`."""
        values = {entry.name: values[entry.name] for entry in fields(cls)}
        for name in ("step", "inference"):
            values[name] = values[name] and Pair(**values[name]["seconds"])
        return cls(**values)


class Measurement:
    """Fills one row. Raises what PyTorch raises where it runs out of memory or cannot compile."""

    def __init__(
        self,
        setup: Setup,
        device: torch.device,
        precision: str,
        mode: str,
        repeat: int,
        budget: Budget,
        folder: Path,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """repeat: turns of each comparison, fewer where the budget is short. folder: for temporary files. say: gets
        lines of progress."""
        self.row = Row(precision, mode)
        self.device, self.repeat, self.budget, self.say = device, repeat, budget, say
        torch.manual_seed(0)
        self._memory = {"otadet": PeakMemory(device), "torchvision": PeakMemory(device)}
        with self._memory["otadet"].watch():
            self.ours = Ours(setup, device, AMP_DTYPES[precision], folder)
        with self._memory["torchvision"].watch():
            self.theirs = Theirs(self.ours, setup)
        self.batches = self.ours.some_batches()
        if mode == "compile":
            self.ours.compile()
            self.theirs.compile()

    def run(self) -> Row:
        with fp32_arithmetic(self.row.precision):
            if self.row.mode == "eager":
                # First, as both still have the same weights and find the same objects.
                self._compare_inference()
            cost = self._warm_up()
            if cost is not None:
                self._compare_steps(cost)
                self._split(cost)
                self._share_of_rules(cost)
                self._count(cost)
            if self.row.mode == "compile":
                self._compare_inference()
        return self.row

    def _compare_inference(self) -> None:
        images = self.batches[0].images
        calls = [partial(self.ours.detect, images), partial(self.theirs.detect, images)]
        if self.budget.left <= 0:
            self.row.left_out.append("inference: no time left for it")
            return
        # The first calls prepare much; on a slow machine they have to do as the estimate.
        cost = sum(seconds_of(call, self.device) for call in calls)
        if cost < LONG_CALL:
            cost = sum(seconds_of(call, self.device) for call in calls)
        turns = self._repeats("inference", cost, self.repeat, share=0.2)
        if turns:
            self.row.inference = in_turn(*calls, self.device, turns)

    def _warm_up(self) -> float | None:
        """Seconds of a step; None where the budget is over, or the steps so far have shown that it will be."""
        self.say("warming up")
        contestants = {"otadet": self.ours, "torchvision": self.theirs}
        order = [name for name in contestants for _ in range(WARM_UP)]
        seconds = 0.0
        for done, name in enumerate(order):
            if self.budget.left <= seconds * (len(order) - done):
                self.row.left_out.append(f"training: no time left for it, with steps of {seconds:.2g} s")
                return None
            with self._memory[name].watch():
                seconds = seconds_of(partial(contestants[name].step, self.batches[0]), self.device)
            self.row.memory[name] = self._memory[name].peak
        return seconds

    def _compare_steps(self, cost: float) -> None:
        turns = self._repeats("training step", 2 * cost, self.repeat, share=0.5)
        if turns:
            steps = [partial(contestant.step, self.batches[0]) for contestant in (self.ours, self.theirs)]
            self.row.step = in_turn(*steps, self.device, turns)

    def _split(self, cost: float) -> None:
        steps = self._repeats("phases", 1.2 * cost, min(SPLIT_STEPS, self.repeat), share=0.4, extra=1)
        if steps:
            seconds = self._clocked_steps(steps)
            self.row.phases = {phase: median(step[phase] for step in seconds) for phase in PHASES}

    def _share_of_rules(self, cost: float) -> None:
        most = min(SPLIT_STEPS, self.repeat)
        steps = self._repeats("share of the rules", 1.2 * len(RULES) * cost, most, share=0.5, extra=1)
        own = self.ours.train_step.loss.assigner
        for rule in RULES if steps else ():
            self.ours.train_step.loss.assigner = named_assigner(rule)
            seconds = self._clocked_steps(steps)
            share = median(step["assignment"] / (sum(step.values()) - step["data"]) for step in seconds)
            self.row.assignment[rule] = {
                "seconds": median(step["assignment"] for step in seconds),
                "share": share,
            }
        self.ours.train_step.loss.assigner = own

    def _clocked_steps(self, count: int) -> list[dict[str, float]]:
        """Seconds of the phases of `count` steps, after one that is not timed."""
        clock, found = PhaseClock(self.device), []
        batches = self.ours.batches()
        with clocked(self.ours.train_step, clock):
            for _ in range(count + 1):
                clock.start()
                batch = next(batches)
                clock.mark("data")
                self.ours.step(ArrivingBatch(batch, clock))
                clock.mark("optimizer")
                found.append(clock.seconds)
        return found[1:]

    def _count(self, cost: float) -> None:
        if not self._repeats("launches and waits", 3 * cost, 1):
            return
        for name, contestant in (("otadet", self.ours), ("torchvision", self.theirs)):
            self.row.counts[name] = asdict(count_step(partial(contestant.step, self.batches[0]), self.device))

    def _repeats(self, what: str, cost: float, at_most: int, share: float = 1.0, extra: int = 0) -> int:
        """As `Budget.repeats`, after `extra` more of the same that do not count; what does not fit is left out."""
        count = self.budget.repeats(cost, at_most + extra, share, at_least=1 + extra) - extra
        if count < 1:
            self.row.left_out.append(f"{what}: no time left for it")
            return 0
        self.say(f"{what}, {count} x {cost:.2g} s")
        return count


class PeakMemory:
    """The most bytes that were in use at once by what is made while this watches, over several times."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak = 0
        self._meter = None if device.type == "cuda" else Meter(device.type)
        self._kept = 0

    @contextmanager
    def watch(self) -> Iterator[None]:
        if self._meter is not None:
            with self._meter:
                yield
            self.peak = self._meter.peak
            return
        torch.cuda.synchronize(self.device)
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        yield
        torch.cuda.synchronize(self.device)
        highest = torch.cuda.max_memory_allocated(self.device)
        self.peak = max(self.peak, self._kept + highest - before)
        self._kept += torch.cuda.memory_allocated(self.device) - before
