"""Fields without which a checkpoint's content means something else, and what these were before they were fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from otadet.engine.restore import shown_value
from otadet.errors import UserError

NETWORK = ("coarse_from", "anchor_offset")
"""Of the network: weights may well fit another one, and find boxes in the wrong places."""
TRAINING = (*NETWORK, "weight_decay_on")
"""Of a training that goes on: the optimizer's groups of parameters belong to one choice."""


def with_older_fields(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in a checkpoint, and the values that those had which it is too old to name."""
    fields = dict(experiment)
    if "norm_weight_decay" in fields:
        decays = fields.pop("norm_weight_decay")
        older = {
            "coarse_from": "c5",
            "anchor_offset": 0.5,
            "weight_decay_on": "all" if decays else "weights",
            "group_by_aspect": False,
        }
        return older | fields
    return fields


def check_same_values(path: object, names: Sequence[str], trained: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise `UserError`, naming the checkpoint `path`, where `trained` and `own` have other values of these fields."""
    changed = [name for name in names if name in trained and name in own and trained[name] != own[name]]
    if changed:
        had, has = (" ".join(f"{name} {shown_value(of[name])}" for name in changed) for of in (trained, own))
        raise UserError(f"{path}: trained with {had}, but the experiment has {has}; add {had} to the command")
