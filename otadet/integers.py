"""Arithmetic of whole numbers."""

from __future__ import annotations


def ceil_div(number: int, divisor: int) -> int:
    """`number / divisor`, rounded up."""
    return -(-number // divisor)
