"""The results: one row of a CSV file per finished training."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from otadet.errors import OutputError, UserError

MAX_BYTES = 1 << 24
"""Of a file to go on with; a row has about 300."""


@dataclass(frozen=True)
class Row:
    """What one training came to."""

    id: str
    """Of the training: rule, seed, and all that `contest` stands for."""
    contest: str
    """Of what the rules have in common: data, start, settings, device and versions. Rows of one compare."""
    rule: str
    """Its word, and settings of its own."""
    seed: int
    AP: float
    AP50: float
    ambiguous: float
    """Anchors per image, as the rule says: N_amb of the OTA paper's Tab. 2."""
    contested: float
    """Those between boxes alone."""
    positives: float
    """Anchors per image."""
    step_seconds: float
    """Median, without the wait for data."""
    data_seconds: float
    """Median wait for data per step."""
    train_seconds: float
    """All steps, with the wait for data."""
    assign_ms: float
    """The rule alone, per batch."""
    assign_ratio: float
    """Of the time of the yardstick on the same predictions, by turns."""
    iterations: int
    batch: int
    split: str
    """What AP is of."""
    images: int
    """Of the split."""
    start: str
    """The checkpoint, or "scratch"; and the experiment of -f."""
    settings: str
    """Of the experiment, as they were given."""
    device: str
    otadet: str
    torch: str


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file yet. Raises `UserError` for a file of something else."""
    names = [field.name for field in fields(Row)]
    try:
        if not os.path.exists(path):
            return []
        if os.path.getsize(path) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
        text = path.read_bytes().decode("utf-8-sig")
        lines = text.splitlines()
        if not lines:
            return []
        if lines[0].split(",") != names:
            raise ValueError("its first line does not have the columns of this version")
        # A line that was not finished is of a row that was not, such as at a power cut.
        kept = lines if text.endswith(("\n", "\r")) else lines[:-1]
        return [_row(cells, number) for number, cells in enumerate(csv.reader(kept[1:]), 2) if cells]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        reason = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise UserError(f"{path}: no table of this benchmark: {reason}; name another --output") from error


def _row(cells: list[str], line: int) -> Row:
    kinds = {field.name: {"str": str, "int": int, "float": float}[str(field.type)] for field in fields(Row)}
    if len(cells) != len(kinds):
        raise ValueError(f"line {line} has {len(cells)} cells for {len(kinds)} columns")
    values: dict[str, Any] = {}
    for (name, kind), cell in zip(kinds.items(), cells, strict=True):
        try:
            values[name] = kind(cell)
        except ValueError:
            raise ValueError(f"line {line}: its {name} is no number") from None
        if kind is float and not math.isfinite(values[name]):
            raise ValueError(f"line {line}: its {name} is {cell}")
    return Row(**values)


def append_row(path: Path, row: Row) -> None:
    """Add a row to a file that `read_rows` can read, which is made where it is missing; it is on the disk then.

    An unfinished last line goes. Raises `OutputError` where that is not possible.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = _drop_unfinished(path)
        if not whole:
            writer.writerow([field.name for field in fields(Row)])
        writer.writerow([getattr(row, field.name) for field in fields(Row)])
        with open(path, "ab") as file:
            file.write(lines.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def _drop_unfinished(path: Path) -> int:
    """Cut an unfinished last line off, and return the bytes that are left."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        print(f"{path}: its last line was not finished, and is left out", file=sys.stderr)
        os.truncate(path, whole)
    return whole
