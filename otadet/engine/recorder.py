"""What a training leaves behind of its numbers: averages of the losses, to the screen and to metrics.csv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from loguru import logger
from torch import Tensor

from otadet.engine.distributed import is_main, sum_over_ranks, world_size
from otadet.engine.metrics import MetricsLog
from otadet.engine.progress import Progress


class Recorder:
    """Every process has one, since the losses are averaged over them; that of the main process shows and writes.

    output: folder of metrics.csv. total: iterations of the training. start: iterations done before. resumed: whether
    the folder's metrics are continued rather than replaced.
    """

    def __init__(self, output: Path, total: int, start: int, iterations_per_epoch: float, *, resumed: bool) -> None:
        self._iterations_per_epoch = iterations_per_epoch
        self._metrics = MetricsLog(output, start if resumed else None) if is_main() else None
        self._progress = Progress(total, start, quiet=not is_main())
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def begin(self) -> None:
        """The first iteration follows."""
        self._progress.begin()

    def update(self, iteration: int, losses: Mapping[str, Tensor]) -> None:
        """`iteration` iterations are done, the last with these losses, which stay on the device."""
        self._sums = {name: self._sums[name] + loss if self._sums else loss for name, loss in losses.items()}
        self._count += 1
        self._progress.update(iteration)

    def log_losses(self, iteration: int, lr: float) -> None:
        """Show and write the means since the last time. Waits for the device."""
        means = {
            name: (sum_over_ranks(total.clone()) / (self._count * world_size())).item()
            for name, total in self._sums.items()
        }
        values = {"loss": sum(means.values()), **means, "lr": lr}
        self._sums, self._count = {}, 0
        speed = self._progress.report(iteration, values)
        self._write(iteration, {**values, "iterations_per_second": speed}, "train")

    def log_scores(self, iteration: int, scores: Mapping[str, float], *, best: bool) -> None:
        """Show and write the result of an evaluation."""
        shown = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        logger.info(f"evaluation at iteration {iteration}: {shown}{'  (best so far)' if best else ''}")
        self._write(iteration, scores, "evaluation")

    def pause(self) -> None:
        """Something that is no iteration comes: it may print, and is not to be counted as a slow iteration."""
        self._progress.pause()

    def go_on(self) -> None:
        """What `pause` announced is over."""
        self._progress.go_on()

    def close(self) -> None:
        """Clear the screen's last line and finish the files."""
        self._progress.pause()
        if self._metrics is not None:
            self._metrics.close()

    def _write(self, iteration: int, values: Mapping[str, float], section: str) -> None:
        if self._metrics is not None:
            self._metrics.write(iteration, {"epoch": iteration / self._iterations_per_epoch, **values}, section)
