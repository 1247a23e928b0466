"""What a training leaves behind of its numbers: averages of the losses, to the screen and to metrics.csv."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from loguru import logger
from torch import Tensor

from otadet.distributed import is_main, rank, sum_over_ranks, world_size
from otadet.engine.columns import LOSS, SPEED
from otadet.engine.metrics import MetricsLog
from otadet.engine.progress import Progress
from otadet.engine.waiting import Shares, Waiting

T = TypeVar("T")


class LossSums:
    """The losses of this process since the last row of metrics.csv, added up on the device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the scalars of one iteration. Sums of other terms, as of a run with another loss, are dropped."""
        if self.sums.keys() != losses.keys():
            self.clear()
        self.sums = {name: self.sums[name] + loss if self.sums else loss for name, loss in losses.items()}
        self.count += 1

    def clear(self) -> None:
        self.sums, self.count = {}, 0

    def means(self) -> dict[str, float]:
        """The means over iterations and processes. Waits for the device."""
        return {
            name: (sum_over_ranks(total.clone()) / (self.count * world_size())).item()
            for name, total in self.sums.items()
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on with the same sums."""
        return {"count": self.count, "sums": {name: total.cpu() for name, total in self.sums.items()}}

    def restore(self, states: Sequence[Mapping[str, Any]], device: torch.device) -> None:
        """Undo `state`. states: what it returned, per process; of another number of processes all get the mean."""
        sums = [state["sums"] for state in states]
        if len(states) == world_size():
            mine = sums[rank()]
        else:
            mine = {name: torch.stack([each[name] for each in sums]).mean() for name in sums[0]}
        self.count = states[0]["count"]
        self.sums = {name: total.to(device) for name, total in mine.items()}


class Recorder:
    """Every process has one, since the losses are averaged over them; that of the main process shows and writes.

    output: folder of metrics.csv. total: iterations of the training. start: iterations done before. resumed: whether
    the folder's metrics are continued rather than replaced. sums: of the losses since its last row. data_advice: what
    to do where the data take longer than all else.
    """

    def __init__(
        self,
        output: Path,
        total: int,
        start: int,
        iterations_per_epoch: float,
        sums: LossSums,
        *,
        resumed: bool,
        data_advice: str = "",
    ) -> None:
        self._iterations_per_epoch = iterations_per_epoch
        self._metrics = MetricsLog(output, start if resumed else None) if is_main() else None
        self._progress = Progress(total, start, quiet=not is_main())
        self._sums = sums
        self._waiting = Waiting()
        self._data_advice = data_advice
        self._warned_of: Shares | None = None

    def watched(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; how long they are waited for is recorded."""
        return self._waiting.watched(batches)

    def begin(self) -> None:
        """The first iteration follows."""
        self._progress.begin()

    def update(self, iteration: int, losses: Mapping[str, Tensor]) -> None:
        """`iteration` iterations are done, the last with these losses, which stay on the device."""
        self._sums.add(losses)
        self._progress.update(iteration)

    def log_losses(self, iteration: int, lr: float) -> dict[str, float]:
        """Show and write the means since the last time. Waits for the device. Returns the row; times are in that of the
        main process alone."""
        means = self._sums.means()
        values = {LOSS: sum(means.values()), **means, "lr": lr}
        self._sums.clear()
        lap = self._waiting.lap()
        speed = self._progress.report(iteration, values, "" if lap is None else str(lap))
        row = {**values, SPEED: speed, **({} if lap is None else lap.milliseconds())}
        self._write(iteration, row, "train")
        if lap is not None and self._warned_of is None and self._warn_of_data(lap, f"the last {lap.iterations}"):
            self._warned_of = lap
        return row

    def log_scores(self, iteration: int, scores: Mapping[str, float], *, best: str = "") -> None:
        """Show and write the result of an evaluation. best: what of it is the best so far."""
        shown = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        logger.info(f"evaluation at iteration {iteration}: {shown}{f'  ({best})' if best else ''}")
        self._write(iteration, scores, "evaluation")

    def sum_up(self) -> None:
        """The training is over: say whether the data were what it waited for."""
        total = self._waiting.total
        if total != self._warned_of:
            self._warn_of_data(total, f"all {total.iterations}")

    def _warn_of_data(self, shares: Shares, which: str) -> bool:
        if shares.data <= shares.compute:
            return False
        logger.warning(
            f"waiting for data {100 * shares.of_data:.0f} % of the time of {which} iterations ({shares} per iteration)"
            f"{self._data_advice and ': '}{self._data_advice}"
        )
        return True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clocks and clear the bar while something other than training runs, such as an evaluation."""
        with self._progress.paused(), self._waiting.paused():
            yield

    def close(self) -> None:
        """Clear the screen's last line and finish the files."""
        self._progress.clear()
        if self._metrics is not None:
            self._metrics.close()

    def _write(self, iteration: int, values: Mapping[str, float], section: str) -> None:
        if self._metrics is not None:
            self._metrics.write(iteration, {"epoch": iteration / self._iterations_per_epoch, **values}, section)
