"""The record of a training: metrics.csv always, TensorBoard where it is installed."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otadet.errors import UserError, reason_of
from otadet.files import atomic_write

MAX_BYTES = 1 << 28
"""Of a metrics.csv to go on with; a million rows have 100 MB."""
MAX_NAME = 200
"""Characters of a column's name."""
NUMBER = r"[+-]?([0-9]{1,20}(\.[0-9]{0,20})?(e[+-]?[0-9]{1,3})?|inf|nan)"
"""What `write` writes, and what a spreadsheet may have made of it."""


class MetricsLog:
    """One row per iteration that logged or evaluated; columns are added as names turn up.

    folder: where metrics.csv is written and TensorBoard's folder `tensorboard` is put. resume_at: keep the rows of
    an earlier run up to this iteration and drop those beyond it, which a resumed run writes again; None starts anew.
    Raises `UserError` for a metrics.csv that cannot be continued.
    """

    def __init__(self, folder: str | Path, resume_at: int | None = None) -> None:
        self.path = Path(folder) / "metrics.csv"
        self._rows: dict[int, dict[str, Any]] = {}
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise UserError(f"{self.path}: is no file, but metrics are to be written there; remove it")
        if resume_at is not None and os.path.exists(self.path):
            rows = _read(self.path)
            self._rows = {iteration: row for iteration, row in rows.items() if iteration <= resume_at}
        self._tensorboard = _tensorboard_writer(Path(folder) / "tensorboard", resume_at)

    def write(self, iteration: int, values: Mapping[str, float], section: str = "train") -> None:
        """Add `values` to the row of `iteration`. section: the group that TensorBoard shows them in."""
        row = self._rows.setdefault(iteration, {"iteration": iteration})
        row.update({name: f"{value:.6g}" for name, value in values.items()})
        # The whole file each time: it is small, and new columns and interruptions then need no special care.
        with atomic_write(self.path, "w") as file:
            columns = dict.fromkeys(name for row in self._rows.values() for name in row)
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows.values())
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(f"{section}/{name}", value, iteration)

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        if self._tensorboard is not None:
            self._tensorboard.close()


def _read(path: Path) -> dict[int, dict[str, str]]:
    """Iteration -> its row without empty cells, in order. Raises `UserError` unless every cell is a number."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(text.splitlines())
        columns = next(reader, [])
        if "iteration" not in columns or len(set(columns)) != len(columns) or not all(map(_is_column, columns)):
            raise ValueError("its first line does not name the columns, iteration among them, each once")
        rows: dict[int, dict[str, str]] = {}
        for cells in filter(None, reader):
            row = _row(columns, cells, reader.line_num)
            iteration = int(row["iteration"])
            if iteration in rows:
                raise ValueError(f"line {reader.line_num}: a second row of iteration {iteration}")
            rows[iteration] = row
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)})") from error
    except (ValueError, csv.Error) as error:
        # Decoding errors show the bytes; all else is text of this file.
        reason = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise UserError(f"{path}: damaged: {reason}; remove or rename the file to go on without its rows") from error
    return dict(sorted(rows.items()))


def _row(columns: list[str], cells: list[str], line: int) -> dict[str, str]:
    if len(cells) != len(columns):
        raise ValueError(f"line {line}: has {len(cells)} cells for {len(columns)} columns")
    row = {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if cell.strip()}
    if not re.fullmatch(r"[0-9]{1,15}", row.get("iteration", "")):
        raise ValueError(f"line {line}: its iteration is no whole number")
    for name, cell in row.items():
        if not re.fullmatch(NUMBER, cell):
            raise ValueError(f"line {line}: its {name} is no number")
    return {**row, "iteration": str(int(row["iteration"]))}


def _is_column(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def _tensorboard_writer(folder: Path, resume_at: int | None) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=None if resume_at is None else resume_at + 1)
