"""Ranges that a transform draws a factor from."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from otadet.errors import UserError
from otadet.limits import Limits

Factor = Annotated[float, Limits(0, 8, open_low=True)]
Range = tuple[Factor, Factor]
"""(low, high)."""


def check_range(name: str, values: tuple[float, float]) -> None:
    """Raise `UserError` unless low <= high."""
    if values[0] > values[1]:
        raise UserError(f"{name} {values[0]},{values[1]}: needs low <= high")


def log_uniform(values: tuple[float, float], rng: np.random.Generator) -> float:
    """A factor between the two; halving is as likely as doubling."""
    return float(np.exp(rng.uniform(*np.log(values))))
