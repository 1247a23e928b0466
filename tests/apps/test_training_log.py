"""What the log of a training says of a schedule that never comes to pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otadet.apps.training_log import warn_of_schedule
from otadet.exp import BaseExp
from tests.helpers.logs import logged


@pytest.fixture
def lines() -> Iterator[list[str]]:
    with logged() as found:
        yield found


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", []),
        ("length 12epochs schedule.at 0.7,0.9 warmup 0.05", []),
        ("length 70000iterations", ["the training ends at iteration 70000, before 80000"]),
        ("length 100iterations schedule.at 0.5", ["the warm-up of 1000 iterations is as long as the training"]),
        ("length 1epochs schedule.at 2epochs warmup 0", ["the training ends at iteration 2, before 5"]),
    ],
)
def test_what_never_happens_is_said(settings: str, expected: list[str], lines: list[str]) -> None:
    exp = BaseExp()
    exp.override(settings.split())
    warn_of_schedule(exp, 40)
    assert len(lines) == len(expected)
    assert all(text in line for text, line in zip(expected, lines, strict=True))
