"""How long a training waits for data: counted by hand on a clock that only the test moves."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from otadet.engine.recorder import LossSums, Recorder
from otadet.engine.waiting import Shares, Waiting
from tests.helpers.logs import logged


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_shares_of_data_and_of_all_else():
    clock = Clock()

    def slow():
        for seconds in (10, 3, 1, 5):
            clock.now += seconds
            yield seconds

    waiting = Waiting(clock)
    seen = []
    batches = waiting.watched(slow())
    for _ in range(3):
        seen.append(next(batches))
        clock.now += 2
    with waiting.paused():
        clock.now += 100
    lap = waiting.lap()
    # The first batch, for which all is set up, does not count.
    assert lap == Shares(3, data=4.0, compute=6.0)
    assert lap.milliseconds() == {"data_ms": 4000 / 3, "compute_ms": 2000}
    assert lap.of_data == 0.4
    seen += [next(batches)]
    clock.now += 1
    assert waiting.lap() == Shares(1, data=5.0, compute=1.0)
    assert waiting.total == Shares(4, data=9.0, compute=7.0)
    assert [*seen, *batches] == [10, 3, 1, 5]
    assert str(lap) == "data 1.33e+03 ms  compute 2e+03 ms"


def test_without_a_batch_there_is_no_time():
    waiting = Waiting(Clock())
    assert list(waiting.watched([])) == []
    assert waiting.lap() == Shares(0, 0.0, 0.0)
    assert Shares(0, 0.0, 0.0).of_data == 0


def recorded(folder: Path, waits: list[float], steps: float) -> list[str]:
    """The warnings of a training whose batches take that many seconds, and whose steps `steps`."""
    clock = Clock()

    def batches():
        for seconds in waits:
            clock.now += seconds
            yield seconds

    recorder = Recorder(folder, len(waits), 0, 1.0, LossSums(), resumed=False, data_advice="buy a disk")
    recorder._waiting = Waiting(clock)
    with logged("WARNING") as lines:
        for number, _ in enumerate(recorder.watched(batches()), start=1):
            clock.now += steps
            recorder.update(number, {"cls": torch.tensor(1.0)})
            if number % 2 == 0:
                recorder.log_losses(number, 0.1)
        recorder.sum_up()
        recorder.close()
    return [line.strip() for line in lines]


def test_the_verdict_comes_at_the_first_log_and_at_the_end(tmp_path):
    found = recorded(tmp_path, [9, 0.6, 0.3, 0.3, 0.3, 0.3], 0.1)
    assert found == [
        "waiting for data 75 % of the time of the last 2 iterations (data 300 ms  compute 100 ms per iteration): "
        "buy a disk",
        "waiting for data 75 % of the time of all 6 iterations (data 300 ms  compute 100 ms per iteration): buy a disk",
    ]
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["data_ms"], row["compute_ms"]) for row in rows] == [("300", "100")] * 3


def test_no_verdict_where_computing_takes_longer(tmp_path):
    assert recorded(tmp_path, [9, 0.1, 0.1, 0.1], 0.2) == []


def test_a_short_training_is_told_once(tmp_path):
    assert len(recorded(tmp_path, [9, 0.6], 0.1)) == 1
