"""How far a training is: one line that redraws itself in a terminal, anywhere else log lines: one per interval and,
where intervals take long, one every now and then in between."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from loguru import logger

_REDRAW_SECONDS = 0.1
_FIRST_LINE_SECONDS = 5.0
_LINE_SECONDS = 30.0
"""Longest time without a line, as far as iterations end in it."""
_BAR_WIDTH = 20
_ERASE_LINE = "\r\x1b[K"


class Progress:
    """Told of every iteration; shows the loss terms and the learning rate of the last interval, speed and ETA.

    total: iterations of the whole training. start: iterations done before. quiet: show nothing (all processes but
    one). stream: where the bar is drawn, when it is a terminal; None is stderr.
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.total = total
        self.quiet = quiet
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._bar = not quiet and self._stream.isatty()
        self._values = ""
        self._start, self._begun = start, clock()
        self._interval_start, self._interval_begun = start, self._begun
        self._drawn = self._begun
        self._next_line = self._begun + _FIRST_LINE_SECONDS

    def begin(self) -> None:
        """The first iteration follows, which may take a while."""
        if self._bar:
            self._draw(self._start)
        elif not self.quiet:
            logger.info(f"{self._count(self._start)}  starting; the first iteration may take longer")

    def update(self, iteration: int) -> None:
        """`iteration` iterations are done."""
        now = self._clock()
        if self._bar and now - self._drawn >= _REDRAW_SECONDS:
            self._draw(iteration)
        elif not self._bar and now >= self._next_line:
            self._log(iteration, f"{self._speed(iteration):.3g} it/s")

    def report(self, iteration: int, values: Mapping[str, float], note: str = "") -> float:
        """Show the averages of the interval that ends here, and a note. Returns its speed in iterations per second."""
        speed = self._speed(iteration)
        shown = [f"{name} {value:.4g}" for name, value in values.items()]
        self._values = "  ".join([*shown, f"{speed:.3g} it/s", *([note] if note else [])])
        if self._bar:
            self._draw(iteration)
        else:
            self._log(iteration, self._values)
        self._interval_start, self._interval_begun = iteration, self._clock()
        return speed

    def clear(self) -> None:
        """Take the bar off the screen; it comes back with the next update."""
        if self._bar:
            self._write(_ERASE_LINE)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the interval's clock and clear the bar while something other than training runs."""
        begun = self._clock()
        self.clear()
        yield
        away = self._clock() - begun
        self._interval_begun += away
        self._next_line += away

    def _speed(self, iteration: int) -> float:
        """Iterations per second since the last report."""
        return (iteration - self._interval_start) / max(self._clock() - self._interval_begun, 1e-9)

    def _log(self, iteration: int, values: str) -> None:
        self._next_line = self._clock() + _LINE_SECONDS
        if not self.quiet:
            logger.info(f"{self._count(iteration)}  {values}  ETA {self._eta(iteration)}")

    def _draw(self, iteration: int) -> None:
        self._drawn = self._clock()
        filled = _BAR_WIDTH * iteration // max(self.total, 1)
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        line = f"{bar} {self._count(iteration)}  ETA {self._eta(iteration)}  {self._values}"
        self._write(_ERASE_LINE + line[: shutil.get_terminal_size().columns - 1])

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            # The terminal has been closed, which the training survives; the run's log gets the lines.
            self._bar = False

    def _count(self, iteration: int) -> str:
        return f"{iteration:{len(str(self.total))}}/{self.total}"

    def _eta(self, iteration: int) -> str:
        done = iteration - self._start
        if not done:
            return "?"
        return as_duration((self._clock() - self._begun) / done * (self.total - iteration))


def as_duration(seconds: float) -> str:
    """hours:minutes:seconds, or minutes:seconds below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
