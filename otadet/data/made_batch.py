"""What the makers of batches are given and give, and how they are sent to loader processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from otadet.data.batch import PackedBatch
from otadet.user_modules import Portable

AUGMENTATION = 1
"""Separates the random streams of the transforms from the others that are drawn from the seed."""

Entry = tuple[int, int]
"""(index in the data set, position in the stream)."""


@dataclass
class Made:
    """What was made of the entries of one batch."""

    batches: list[PackedBatch]
    unreadable: dict[int, str] = field(default_factory=dict)
    """Index -> what is wrong, of the images that were left out."""


def portable(maker: Any) -> tuple[Any, ...]:
    """What `__reduce__` of a maker returns: data set and transform may be of classes of an experiment file."""
    return _restored, (type(maker), Portable(tuple(vars(maker).values())))


def _restored(kind: type, parts: Portable) -> Any:
    return kind(*parts.value)
