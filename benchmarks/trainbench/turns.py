"""Two contestants in turn, within a budget of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch

from otadet.profiling.meters import wait_for

LONG_ENOUGH = 0.2
"""Seconds that a turn should last: shorter calls are repeated in it, so that waiting for the device does not count."""
MOST_CALLS = 20


class Budget:
    """Seconds that may be used; None: any number."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._end = float("inf") if seconds is None else clock() + seconds

    @property
    def left(self) -> float:
        return self._end - self._clock()

    def repeats(self, cost: float, at_most: int, share: float = 1.0, at_least: int = 1) -> int:
        """How often something that takes `cost` seconds may be done in a share of what is left.

        `at_least` may take more than the share; 0 where not even that much is left.
        """
        if at_least * cost > self.left:
            return 0
        fitting = share * self.left / max(cost, 1e-9)
        return max(at_least, int(min(at_most, fitting)))


@dataclass(frozen=True)
class Pair:
    """Seconds of one call of each contestant, measured in turn: entry i of both belongs to the same turn."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return median(self.ours) / median(self.theirs)

    def summary(self) -> dict[str, Any]:
        ratios = [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else (ratios[0],) * 3
        return {
            "turns": len(ratios),
            "otadet": median(self.ours),
            "torchvision": median(self.theirs),
            "ratio": self.ratio,
            "ratio_of_minima": min(self.ours) / min(self.theirs),
            "quartiles_of_ratios": [low, high],
        }


def seconds_of(call: Callable[[], Any], device: torch.device, calls: int = 1) -> float:
    """Seconds of one call, the mean over `calls` in a row, with all of the device's work and no waiting in between."""
    wait_for(device)
    start = perf_counter()
    for _ in range(calls):
        call()
    wait_for(device)
    return (perf_counter() - start) / calls


def in_turn(ours: Callable[[], Any], theirs: Callable[[], Any], device: torch.device, turns: int) -> Pair:
    """Time both `turns` times; who begins changes from turn to turn."""
    pair = Pair([], [])
    contestants = [(ours, pair.ours), (theirs, pair.theirs)]
    calls = 1
    if device.type == "cuda":
        shortest = min(seconds_of(call, device) for call, _ in contestants)
        calls = min(MOST_CALLS, max(1, round(LONG_ENOUGH / max(shortest, 1e-9))))
    for turn in range(turns):
        for call, times in contestants if turn % 2 == 0 else reversed(contestants):
            times.append(seconds_of(call, device, calls))
    return pair
