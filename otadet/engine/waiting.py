"""How long a training waits for its data, and how long it computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from otadet.distributed import gather_objects
from otadet.engine.columns import TIMES

T = TypeVar("T")


@dataclass(frozen=True)
class Shares:
    """What the time of some iterations went into."""

    iterations: int
    data: float
    """Seconds in which the next batch was not there yet. A device may have had work left from the step before."""
    compute: float
    """Seconds of all else: the steps, the log, checkpoints."""

    @property
    def of_data(self) -> float:
        """The share of the data, 0-1."""
        return self.data / max(self.data + self.compute, 1e-9)

    def milliseconds(self) -> dict[str, float]:
        """Per iteration, by the names of the columns of metrics.csv."""
        parts = zip(TIMES, (self.data, self.compute), strict=True)
        return {name: 1000 * seconds / max(self.iterations, 1) for name, seconds in parts}

    def __add__(self, other: Shares) -> Shares:
        return Shares(self.iterations + other.iterations, self.data + other.data, self.compute + other.compute)

    def __str__(self) -> str:
        return "  ".join(f"{name.removesuffix('_ms')} {value:.3g} ms" for name, value in self.milliseconds().items())


class Waiting:
    """Watches an iterator of batches. The first of them is not waited for long as a rule, but until all is set up: the
    clock starts when it has come."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun: float | None = None
        self._waited = 0.0
        self._iterations = 0
        self.total = Shares(0, 0.0, 0.0)
        """Of all laps, in the main process."""

    def watched(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches."""
        source = iter(batches)
        while True:
            begun = self._clock()
            try:
                batch = next(source)
            except StopIteration:
                return
            now = self._clock()
            if self._begun is None:
                self._begun = now
            else:
                self._waited += now - begun
            self._iterations += 1
            yield batch

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Something other than training runs."""
        away = self._clock()
        yield
        if self._begun is not None:
            self._begun += self._clock() - away

    def lap(self) -> Shares | None:
        """Since the last lap, in the main process, of the process that waited longest; every process calls it.

        The device has to be waited for before, as for the losses of these iterations, or its work counts in the next.
        """
        now = self._clock()
        passed = 0.0 if self._begun is None else now - self._begun
        longest = max(gather_objects(self._waited), default=None)
        iterations = self._iterations
        self._begun, self._waited, self._iterations = now, 0.0, 0
        if longest is None:
            return None
        # The others wait for the one that waits for its data, and count that as computing.
        lap = Shares(iterations, longest, max(passed - longest, 0.0))
        self.total += lap
        return lap
