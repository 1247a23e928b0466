"""Ranges that the numbers of a part have to lie in; the upper ends only catch slips of the hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from otadet.errors import UserError


@dataclass(frozen=True)
class Limits:
    """An interval; an open end does not belong to it."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def described_for(self, value: float) -> str:
        """What `value`, which is outside, should be; of an end that no sane value comes near nothing is said."""
        low = f"{'above' if self.open_low else 'at least'} {self.low:,g}"
        high = f"{'below' if self.open_high else 'at most'} {self.high:,.15g}"
        if self.high <= 1:
            return f"{low} and {high}"
        return high if value > self.low else low


def check_limits(name: str, value: Any, limits: Limits) -> None:
    """Raise `UserError` where `value`, or any item of it, is outside `limits`; what is no number passes."""
    for number in value if isinstance(value, list | tuple) else (value,):
        if isinstance(number, int | float) and number not in limits:
            raise UserError(f"{name} {brief(number)}: must be {limits.described_for(number)}")


def brief(value: Any) -> str:
    """`value` as it is written, cut where that would fill the screen."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"
