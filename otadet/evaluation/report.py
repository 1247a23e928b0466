"""An evaluation as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from otadet.evaluation.diagnosis import NEGLIGIBLE_AP
from otadet.evaluation.protocols import PROTOCOLS, Protocol
from otadet.evaluation.result import ClassResult, Result
from otadet.files import atomic_write


def format_result(result: Result, *, per_class: bool = False) -> str:
    """The numbers, the classes if wanted, the diagnosis, at length where AP is 0 or -1, and who says so."""
    protocol = PROTOCOLS[result.protocol]
    parts = [_format_stats(result.stats, protocol)]
    if per_class:
        parts.append(_format_per_class(result.per_class, protocol.per_class))
    ap, diagnosis = result.stats["AP"], result.diagnosis
    if ap < NEGLIGIBLE_AP:
        parts.append(f"!! AP is {ap:.3g}. What was compared:\n{diagnosis.explanation()}")
    else:
        parts.append(str(diagnosis))
    most, counted = diagnosis.most_truths_per_image, protocol.max_detections
    if counted is not None and most > counted:
        parts.append(
            f"note: an image has up to {most} objects, of which {protocol.title}'s numbers count at most {counted} "
            "detections"
        )
    parts.append(f"{protocol.title}'s evaluation, by {result.judge}")
    return "\n\n".join(parts)


def write_metrics(path: str | Path, result: Result, measured_on: Mapping[str, Any] | None = None) -> None:
    """Write `as_json` of the result."""
    with atomic_write(path, "w") as file:
        file.write(f"{as_json(result, measured_on)}\n")


def as_json(result: Result, measured_on: Mapping[str, Any] | None = None) -> str:
    """{"protocol", "judge", "stats", "per_class", "diagnosis", "data"}; -1 is a number without ground truth.

    measured_on: what there is to say of the data, such as their file.
    """
    classes = [
        {"name": one.name, **one.scores, "truths": one.truths, "predictions": one.predictions}
        for one in result.per_class
    ]
    about = {} if measured_on is None else {"data": dict(measured_on)}
    return json.dumps({**asdict(result), "per_class": classes, **about}, indent=1, ensure_ascii=False)


def _format_stats(stats: dict[str, float], protocol: Protocol) -> str:
    lines = []
    for names in protocol.rows:
        lines.append(" ".join(f"{name:>6}" for name in names))
        lines.append(" ".join(f"{_number(stats[name]):>6}" for name in names))
    return "\n".join(lines)


def _format_per_class(classes: Sequence[ClassResult], scores: Sequence[str]) -> str:
    header = ("class", *scores, "ground truths", "predictions")
    rows = [
        (entry.name, *(_number(entry.scores[name]) for name in scores), entry.truths, entry.predictions)
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
