"""Experiments that fit themselves to their data: how what nobody has set is chosen, each choice with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from otadet.data.check.statistics import Statistics, statistics
from otadet.data.dataset import DetectionDataset
from otadet.exp.base import BaseExp
from otadet.exp.set_fields import paths_set


@dataclass(frozen=True)
class Choice:
    """A value for one field."""

    path: str
    value: Any
    """As on a command line where it is a text, or else the value itself, of a field of the experiment or of its part
    there."""
    reason: str = ""
    """For the log, where those of one chooser are one line; "" where another choice has said it."""


Chooser = Callable[[Statistics, BaseExp, int], Iterable[Choice]]
"""(what is known of the data, the experiment as it is so far, number of devices) -> choices."""


class FittedExp(BaseExp):
    """An experiment for whatever data. A subclass says what it chooses (`choosers`); what a command sets wins."""

    _set: frozenset[str] = frozenset()
    """Paths that a command line has set."""

    def override(self, pairs: Sequence[str]) -> None:
        named = paths_set(self, list(zip(pairs[::2], pairs[1::2], strict=False)))
        super().override(pairs)
        self._set |= {*named}

    def choosers(self) -> Iterable[Chooser]:
        """In their order: a later one sees what earlier ones have chosen."""
        return ()

    def for_data(self, train_set: DetectionDataset, devices: int) -> tuple[BaseExp, Sequence[str]]:
        found = statistics(train_set.annotations, train_set.sizes)
        fitted = copy(self)
        reasons = [_described(found)]
        for choose in self.choosers():
            said: list[str] = []
            for choice in choose(found, fitted, devices):
                if fitted.is_free(choice.path):
                    _set(fitted, choice)
                    said += [choice.reason] if choice.reason else []
            reasons += ["; ".join(said)] if said else []
        return fitted, reasons if len(reasons) > 1 else ()

    def is_free(self, path: str) -> bool:
        """Whether no command has set what is at this path."""
        return not any(
            path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.") for other in self._set
        )


def _set(exp: BaseExp, choice: Choice) -> None:
    if isinstance(choice.value, str):
        BaseExp.override(exp, [choice.path, choice.value])
        return
    part, _, field = choice.path.partition(".")
    setattr(exp, part, replace(getattr(exp, part), **{field: choice.value}) if field else choice.value)


def _described(found: Statistics) -> str:
    height, width = np.median(found.image_sizes, axis=0).round().astype(int)
    half = np.median(found.box_sizes) if found.boxes else 0
    return (
        f"{found.images:,} pictures of about {width} x {height} px; {found.boxes:,} boxes of {len(found.class_names)} "
        f"classes, half of them smaller than {half:.0f} px; chosen for them is what follows, and what you set wins:"
    )
