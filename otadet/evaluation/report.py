"""An evaluation as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from otadet.evaluation.coco import STATS, ClassResult, CocoResult
from otadet.evaluation.diagnosis import NEGLIGIBLE_AP
from otadet.files import atomic_write


def format_result(result: CocoResult, *, per_class: bool = False) -> str:
    """The twelve numbers, the classes if wanted, and the diagnosis: a line, or at length where AP is 0 or -1."""
    parts = [_format_stats(result.stats)]
    if per_class:
        parts.append(_format_per_class(result.per_class))
    ap, diagnosis = result.stats["AP"], result.diagnosis
    if ap < NEGLIGIBLE_AP:
        parts.append(f"!! AP is {ap:.3g}. What was compared:\n{diagnosis.explanation()}")
    else:
        parts.append(str(diagnosis))
    if diagnosis.most_truths_per_image > 100:
        parts.append(
            f"note: an image has up to {diagnosis.most_truths_per_image} objects, of which COCO's numbers count at "
            "most 100 detections"
        )
    return "\n\n".join(parts)


def write_metrics(path: str | Path, result: CocoResult, measured_on: Mapping[str, Any] | None = None) -> None:
    """Write `as_json` of the result."""
    with atomic_write(path, "w") as file:
        file.write(f"{as_json(result, measured_on)}\n")


def as_json(result: CocoResult, measured_on: Mapping[str, Any] | None = None) -> str:
    """{"stats", "per_class", "diagnosis", "data"}; -1 is a number without ground truth.

    measured_on: what there is to say of the data, such as their file.
    """
    about = {} if measured_on is None else {"data": dict(measured_on)}
    return json.dumps({**asdict(result), **about}, indent=1, ensure_ascii=False)


def _format_stats(stats: dict[str, float]) -> str:
    names, values = [], []
    for name in STATS:
        names.append(f"{name:>6}")
        values.append(f"{_number(stats[name]):>6}")
    half = len(STATS) // 2
    return "\n".join(" ".join(row) for row in (names[:half], values[:half], names[half:], values[half:]))


def _format_per_class(classes: Sequence[ClassResult]) -> str:
    header = ("class", "AP", "AP50", "AP75", "AR100", "ground truths", "predictions")
    rows = [
        (entry.name, *map(_number, (entry.AP, entry.AP50, entry.AP75, entry.AR100)), entry.truths, entry.predictions)
        for entry in classes
    ]
    width = max(len(str(row[0])) for row in (header, *rows))
    lines = []
    for name, *cells in (header, *rows):
        padded = (f"{cell:>{max(6, len(title))}}" for cell, title in zip(cells, header[1:], strict=True))
        lines.append("  ".join((f"{name:<{width}}", *padded)))
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three decimals, or a dash where there was nothing to measure."""
    return "-" if value < 0 else f"{value:.3f}"
