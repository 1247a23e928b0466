"""The columns of metrics.csv that a training writes beside the scores of its evaluations."""

from __future__ import annotations

from collections.abc import Iterable

LOSS = "loss"
"""The sum of all terms."""
SPEED = "iterations_per_second"
PLACE = ("iteration", "epoch", "lr")
"""They say where a training is, not how good it is."""
TIMES = ("data_ms", "compute_ms")


def training_columns(terms: Iterable[str]) -> tuple[str, ...]:
    """Those whose values are better or worse. terms: of the loss."""
    return (LOSS, *terms, SPEED, *TIMES)


def lower_is_better(column: str) -> bool:
    """Of one of `training_columns`."""
    return column != SPEED
