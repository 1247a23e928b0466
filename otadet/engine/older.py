"""What the experiments of an older otadet had before it was a field of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
