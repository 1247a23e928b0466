"""Outputs appear whole or not at all: they are written under a temporary name and moved into place."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from otadet.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that becomes `path` when the block ends without an error.

    Parent folders are made. Raises `UserError` before the block where `path` cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another output folder") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _set_default_mode(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO]:
    """An open file that becomes `path` when the block ends without an error; text is UTF-8."""
    with atomic_path(path) as temporary, open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table with a row for each mapping; the columns are the keys of the first."""
    with atomic_write(path, "w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _set_default_mode(path: Path) -> None:
    # mkstemp makes files that only their owner can read; an output has the permissions any new file would have.
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)
