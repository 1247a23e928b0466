"""The tables that are printed, and the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from otadet.files import atomic_write

from .contestants import Setup
from .phases import PHASES
from .rows import RULES, Row
from .turns import Pair

CONTESTANTS = ("otadet", "torchvision")


def describe(setup: Setup, facts: dict[str, Any]) -> str:
    """Lines above the tables: machine, versions, and what both do."""
    norms = (
        "both: batch norms frozen, stem and first stage not trained (a pretrained network's setting), random weights"
        if setup.frozen
        else "both: everything trains, batch norms with the statistics of the batch, random weights"
    )
    height, width = setup.size
    threads = "" if facts["device_type"] == "cuda" else f", {facts['threads']} threads, {facts['instructions']}"
    return (
        f"{facts['device']}{threads}; PyTorch {facts['torch']}, torchvision {facts['torchvision']}\n"
        f"FCOS-R{setup.depth}-FPN, {setup.classes} classes, {height} x {width} px, batch {setup.batch}, "
        f"{setup.boxes} boxes per image\n{norms}"
    )


def tables(rows: Sequence[Row], setup: Setup, facts: dict[str, Any]) -> str:
    """All rows, as text."""
    on_gpu = facts["device_type"] == "cuda"
    parts = [
        _comparison("training step, without loading", rows, lambda row: row.step),
        _comparison("inference of a batch, with NMS", rows, lambda row: row.inference),
        _phases(rows, setup.batch),
        _shares(rows),
        _memory_and_counts(rows, on_gpu),
    ]
    return "\n\n".join(part for part in parts if part)


def left_out(rows: Sequence[Row], reasons: Sequence[str]) -> list[str]:
    """Lines on what was not measured."""
    return [*reasons, *(f"{_name(row)}: {line}" for row in rows for line in row.left_out)]


def write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")


def _name(row: Row) -> str:
    return f"{row.precision} {row.mode}"


def _comparison(title: str, rows: Sequence[Row], pair_of: Callable[[Row], Pair | None]) -> str:
    pairs = [(row, pair) for row in rows if (pair := pair_of(row)) is not None]
    if not pairs:
        return ""
    lines = [f"{title:<32}{'otadet':>10}{'torchvision':>13}{'ratio':>8}{'of minima':>11}{'turns':>7}"]
    for row, pair in pairs:
        summary = pair.summary()
        lines.append(
            f"{_name(row):<32}{_seconds(summary['otadet']):>10}{_seconds(summary['torchvision']):>13}"
            f"{summary['ratio']:>8.3f}{summary['ratio_of_minima']:>11.3f}{summary['turns']:>7}"
        )
    return "\n".join(lines)


def _phases(rows: Sequence[Row], batch: int) -> str:
    split = [row for row in rows if row.phases]
    if not split:
        return ""
    head = f"{'otadet, one phase at a time':<32}" + "".join(f"{phase:>12}" for phase in PHASES)
    lines = [f"{head}{'images/s':>12}"]
    for row in split:
        speed = row.images_per_second(batch)
        shown = "-" if speed is None else f"{speed:.3g}"
        lines.append(
            f"{_name(row):<32}" + "".join(f"{_seconds(row.phases[phase]):>12}" for phase in PHASES) + f"{shown:>12}"
        )
    return "\n".join(lines)


def _shares(rows: Sequence[Row]) -> str:
    known = [row for row in rows if row.assignment]
    if not known:
        return ""
    lines = [f"{'assignment, share of the step':<32}" + "".join(f"{rule:>20}" for rule in RULES)]
    for row in known:
        cells = (f"{_seconds(cost['seconds'])} {cost['share']:6.2%}" for cost in row.assignment.values())
        lines.append(f"{_name(row):<32}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def _memory_and_counts(rows: Sequence[Row], on_gpu: bool) -> str:
    columns = ("launches", "waits", "copies to host") if on_gpu else ("operators", "of which wait")
    lines = [f"{'of one training step':<32}{'peak MiB':>12}" + "".join(f"{column:>16}" for column in columns)]
    for row in rows:
        for name in CONTESTANTS:
            if name in row.memory:
                counts = _shown_counts(row.counts.get(name), on_gpu)
                memory = f"{row.memory[name] / 2**20:.0f}"
                lines.append(f"{f'{_name(row)}, {name}':<32}{memory:>12}" + "".join(f"{c:>16}" for c in counts))
    if len(lines) == 1:
        return ""
    if on_gpu:
        lines.append("peak: of PyTorch's allocator. Launches of kernels and waits for the GPU: the profiler's.")
    else:
        lines.append(
            "peak: of live tensors; what an operator takes and gives back is not seen. Without a GPU there are no\n"
            "launches: operators are ATen's, by the profiler, and those that wait are of the kinds that a GPU's host\n"
            "waits for; otadet's assigner calls them on a CPU alone, where looking at values costs nothing."
        )
    return "\n".join(lines)


def _shown_counts(counts: dict[str, Any] | None, on_gpu: bool) -> list[str]:
    if counts is None:
        return ["-"] * (3 if on_gpu else 2)
    if on_gpu:
        return [str(counts[name]) for name in ("launches", "waits", "copies_to_host")]
    return [str(counts["operators"]), str(sum(counts["waiting_operators"].values()))]


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value >= 1 else f"{1000 * value:.3g} ms" if value < 0.0995 else f"{1000 * value:.0f} ms"
