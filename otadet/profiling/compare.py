"""Rules side by side on one scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from otadet.errors import UserError
from otadet.profiling.meters import Meter, interleaved_timings, metered
from otadet.profiling.problems import Problem, Scene, draw_problem

IMAGE_BY_IMAGE = "dense OTA"
"""Works on one image at a time, and so slowly that of large batches the first image is enough to know."""
LARGE_BATCH = 120
"""Boxes, over all images."""


@dataclass(frozen=True)
class Cost:
    """What one rule costs on one scene."""

    scene: Scene
    rule: str
    """Its name."""
    seconds: float
    """Of one call."""
    memory: int
    """Peak, in bytes."""
    logits: int
    """Bytes of the scene's logits."""
    launches: int
    """As of `Meter`."""
    waits: int
    """As of `Meter`."""
    extrapolated: bool = False
    """Measured on the first image; time and operations are multiplied by the number of images."""


@dataclass(frozen=True)
class Comparison:
    """One scene."""

    costs: list[Cost]
    failures: dict[str, str]
    """Rule -> why it was left out."""

    def seconds(self, rule: str) -> float | None:
        return next((cost.seconds for cost in self.costs if cost.rule == rule), None)


def compare(
    scene: Scene,
    rules: Mapping[str, Callable],
    device: torch.device,
    *,
    repeat: int = 10,
    budget: float = 10.0,
    use_median: bool = False,
) -> Comparison:
    """Time the rules in turn, the best of `repeat` calls (or their median) each, and meter them once.

    rules: name -> function of (predictions, anchors, truths). budget: seconds after which a slow rule is not repeated.
    A rule that raises `UserError`, as where a package is missing, or has not enough memory is left out with the reason.
    """
    problem = draw_problem(scene)
    meters, calls, failures = {}, {}, {}
    for name, rule in rules.items():
        part = problem.first_image() if _is_extrapolated(name, scene) else problem
        call = partial(_assign, rule, part.to(device))
        try:
            meters[name] = metered(call, device)
        except (UserError, torch.OutOfMemoryError, MemoryError) as error:
            failures[name] = str(error).splitlines()[0]
            continue
        if device.type == "cpu":
            meters[name].launches, meters[name].waits = _on_a_gpu(rule, part, meters[name])
        calls[name] = call
    seconds = interleaved_timings(calls, device, repeat, budget)
    logits = problem.predictions.logits
    costs = []
    for name, times in seconds.items():
        extrapolated = _is_extrapolated(name, scene)
        factor = scene.images if extrapolated else 1
        costs.append(
            Cost(
                scene,
                name,
                (median(times) if use_median else min(times)) * factor,
                meters[name].peak,
                logits.numel() * logits.element_size(),
                meters[name].launches * factor,
                meters[name].waits * factor,
                extrapolated,
            )
        )
    return Comparison(costs, failures)


def _is_extrapolated(name: str, scene: Scene) -> bool:
    return name == IMAGE_BY_IMAGE and scene.images > 1 and scene.boxes * scene.images >= LARGE_BATCH


def _assign(rule: Callable, problem: Problem) -> Any:
    return rule(problem.predictions, problem.anchors, problem.truths)


def _on_a_gpu(rule: Callable, problem: Problem, on_cpu: Meter) -> tuple[int, int]:
    """Launches and waits as a GPU would see them, found without one; those of the CPU for a rule that must wait."""
    meter = Meter("cuda")
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            fake = problem.to("cuda")
            with meter:
                _assign(rule, fake)
    except (RuntimeError, TypeError):
        # Values that a fake tensor does not have were asked for: those are the waits.
        return on_cpu.launches, max(1, on_cpu.waits, meter.waits)
    return meter.launches, meter.waits


def scaling(rule: Callable, scenes: Sequence[Scene], device: torch.device, repeat: int = 10) -> list[float]:
    """Best seconds of one rule on each scene, the scenes in turn."""
    calls = {str(scene): partial(_assign, rule, draw_problem(scene).to(device)) for scene in scenes}
    for call in calls.values():
        call()
    return [min(seconds) for seconds in interleaved_timings(calls, device, repeat, budget=10.0).values()]
