"""Whether the input of an experiment is what the weights of its backbone were trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from otadet.errors import UserError
from otadet.models.backbones.normalization import Normalization

if TYPE_CHECKING:
    from otadet.exp.base import BaseExp

SAME = 0.05
"""Deviations that two normalisations may put the same pixel apart, and still be called one."""
FAR = 0.75
"""From here on the weights are of no use: the inputs of ImageNet's usual networks and of Inception's are 1.6 apart."""


def input_advice(exp: BaseExp) -> str:
    """A line for the log where the input is normalised a little differently, else "".

    Raises `UserError`, saying what to set, where it is so differently that the weights are of no use.
    """
    known = getattr(getattr(exp.model, "backbone", None), "normalization", lambda: None)()
    if known is None or (apart := known.distance(Normalization(exp.input.mean, exp.input.std))) <= SAME:
        return ""
    said = (
        f"input.mean {_shown(exp.input.mean)} input.std {_shown(exp.input.std)}: the weights of the backbone were "
        f"trained on others; set input.mean {_shown(known.mean)} input.std {_shown(known.std)}"
    )
    if apart > FAR:
        raise UserError(f"{said}, or model.backbone.weights none")
    return f"{said}, unless this is meant"


def _shown(values: Iterable[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
