"""Label assignment: `assigner(predictions, anchors, truths) -> Assignment`, one rule per file.

What the rules share is in `ops`; `docs/assigners.md` says how to add one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from otadet.assigners.atss import ATSSAssigner
from otadet.assigners.base import Assigner
from otadet.assigners.dense import DenseAssigner, DenseClaims
from otadet.assigners.dsla import DSLAAssigner
from otadet.assigners.fcos import FCOSAssigner
from otadet.assigners.hungarian import HungarianAssigner
from otadet.assigners.lla import LLAAssigner
from otadet.assigners.max_iou import MaxIoUAssigner
from otadet.assigners.ops.pair_costs import DETRCost, OTACost, PairCost
from otadet.assigners.ota import OTAAssigner
from otadet.assigners.paa import PAAAssigner
from otadet.assigners.simota import SimOTAAssigner
from otadet.assigners.task_aligned import TaskAlignedAssigner
from otadet.errors import UserError, did_you_mean

_RULES: dict[str, Callable[[], Assigner]] = {
    "ota": OTAAssigner,
    "simota": SimOTAAssigner,
    "fcos": FCOSAssigner,
    "max_iou": MaxIoUAssigner,
    "atss": ATSSAssigner,
    "paa": PAAAssigner,
    "lla": LLAAssigner,
    "tal": TaskAlignedAssigner,
    "tal_yolo": TaskAlignedAssigner.yolo,
    "tal_soft": partial(TaskAlignedAssigner, soft=True),
    "dsla": DSLAAssigner,
    "hungarian": HungarianAssigner,
}

__all__ = [
    "ATSSAssigner",
    "Assigner",
    "DETRCost",
    "DSLAAssigner",
    "DenseAssigner",
    "DenseClaims",
    "FCOSAssigner",
    "HungarianAssigner",
    "LLAAssigner",
    "MaxIoUAssigner",
    "OTAAssigner",
    "OTACost",
    "PAAAssigner",
    "PairCost",
    "SimOTAAssigner",
    "TaskAlignedAssigner",
    "assigner_names",
    "named_assigner",
]


def assigner_names() -> tuple[str, ...]:
    """The words that `named_assigner` knows."""
    return tuple(_RULES)


def named_assigner(name: str) -> Assigner:
    """The rule of that name with its own defaults, for the command line. Raises `UserError` for an unknown name."""
    if name not in _RULES:
        raise UserError(
            f"assigner {name}: there is no such rule{did_you_mean(name, _RULES)}; known: {', '.join(_RULES)}"
        )
    return _RULES[name]()
