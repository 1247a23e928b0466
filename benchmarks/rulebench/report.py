"""The table of a comparison, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from benchmarks.rulebench.rows import Row


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    title: str
    value: Callable[[Row], float]
    digits: int


COLUMNS = (
    Column("AP", lambda row: row.AP, 3),
    Column("AP50", lambda row: row.AP50, 3),
    Column("N_amb", lambda row: row.ambiguous, 2),
    Column("contested", lambda row: row.contested, 2),
    Column("positives", lambda row: row.positives, 1),
    Column("s/step", lambda row: row.step_seconds, 4),
    Column("train s", lambda row: row.train_seconds, 0),
    Column("rule ms", lambda row: row.assign_ms, 1),
    Column("of OTA's", lambda row: row.assign_ratio, 2),
)


def table(rows: Sequence[Row], *, markdown: bool = False) -> str:
    """What the rows, which are of one contest, have in common, and a line per rule: means over its seeds."""
    rules = list(dict.fromkeys(row.rule for row in rows))
    cells = [["rule", *(column.title for column in COLUMNS)]]
    for rule in rules:
        own = [row for row in rows if row.rule == rule]
        cells.append([rule, *(_cell(column, own) for column in COLUMNS)])
    if markdown:
        lines = [f"| {' | '.join(line)} |" for line in cells]
        lines.insert(1, f"|---|{'---:|' * len(COLUMNS)}")
        return "\n".join([f"{_common(rows)}", "", *lines])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join([_common(rows), *lines])


def _cell(column: Column, rows: Sequence[Row]) -> str:
    """The mean of the seeds, and where there are several how far they scatter."""
    values = [column.value(row) for row in rows]
    text = f"{mean(values):.{column.digits}f}"
    return text if len(values) == 1 else f"{text} +-{stdev(values):.{column.digits}f}"


def _common(rows: Sequence[Row]) -> str:
    first = rows[0]
    seeds = ", ".join(map(str, sorted({row.seed for row in rows})))
    return (
        f"from {first.start}, {first.iterations} iterations of {first.batch} images, seed {seeds}"
        f"{first.settings and ', '}{first.settings}; AP of the {first.split} split, {first.images} images; "
        f"{first.device}, torch {first.torch}, otadet {first.otadet}"
    )


def contests(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows by what is to be compared, in their order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.contest, []).append(row)
    return list(found.values())
