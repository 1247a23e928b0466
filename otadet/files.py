"""Outputs appear whole or not at all: they are written under a temporary name and moved into place."""

from __future__ import annotations

import csv
import errno
import glob
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from otadet.errors import OutputError, reason_of

_DISK_ERRORS = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "ESTALE") if hasattr(errno, name)
}


@contextmanager
def atomic_path(path: str | Path, *, keep_as: str | Path | None = None) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that becomes `path` when the block ends without an error.

    Parent folders are made. What a device or a pipe is named for, such as /dev/stdout, is copied into it. keep_as:
    another name beside it for what `path` was until then; at every moment one of the two is a whole file. Raises
    `OutputError` before the block where `path` cannot be written, and after it where the disk is full or broken: `path`
    is then what it was before.
    """
    path = Path(path)
    temporary = _new_temporary(path)
    try:
        yield temporary
        if is_special(path):
            _copy_into(temporary, path)
            return
        if keep_as is not None:
            _keep(path, Path(keep_as))
        _move(temporary, path)
    except Exception as error:
        if (cause := _disk_error(error)) is not None:
            kept = "; what it held before is unchanged" if os.path.isfile(path) else ""
            raise OutputError(f"{path}: cannot be written ({reason_of(cause)}){kept}") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb", *, keep_as: str | Path | None = None) -> Iterator[IO]:
    """An open file that becomes `path` when the block ends without an error; text is UTF-8.

    keep_as: see `atomic_path`.
    """
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path, keep_as=keep_as) as temporary, open(temporary, mode, encoding=encoding) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes it when the block ends without an error.

    Parent folders are made. Raises `OutputError` before the block where `path` holds something or cannot be made, and
    after it where the disk is full or broken; nothing is left behind then.
    """
    path = Path(os.path.abspath(path))
    try:
        if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
            raise OutputError(f"{path}: is not empty; name a new folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({reason_of(error)}); choose another output folder") from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.is_dir():
            path.rmdir()
        os.replace(temporary, path)
    except OSError as error:
        if (cause := _disk_error(error)) is not None:
            raise OutputError(f"{path}: cannot be written ({reason_of(cause)}); nothing is left of it") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(*paths: str | Path | None) -> None:
    """Raise `OutputError` for the first path that `atomic_path` could not write; None is passed over.

    For a program that computes for long before it writes. Parent folders are made.
    """
    for path in paths:
        if path is not None:
            _new_temporary(Path(path)).unlink()


def check_folder(folder: str | Path) -> None:
    """Make `folder` where it is missing, and raise `OutputError` where files cannot be written into it."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise OutputError(f"{folder}: cannot be used as output folder ({reason}); choose another --output") from error


def is_special(path: str | Path) -> bool:
    """Whether it is, or a link leads to, a device, a pipe or a socket, which a file must not take the place of."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def is_disk_error(error: BaseException) -> bool:
    """Whether `error`, or what it was raised from, says that the disk is full or broken: other files would not fit."""
    return _disk_error(error) is not None


def remove_temporaries(*paths: str | Path) -> list[Path]:
    """Remove what processes that were killed while they wrote `paths` left beside them, and nothing else.

    Nobody may be writing them at the moment. Returns what was removed.
    """
    removed = []
    for path in map(Path, paths):
        # The names are those of mkstemp in `atomic_path`.
        name = re.compile(rf"\.{re.escape(path.stem)}-[a-z0-9_]{{8}}{re.escape(path.suffix)}")
        for file in path.parent.glob(f".{glob.escape(path.stem)}-*{glob.escape(path.suffix)}"):
            if name.fullmatch(file.name) and os.path.isfile(file) and not file.is_symlink():
                file.unlink(missing_ok=True)
                removed.append(file)
    return removed


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table with a row for each mapping; the columns are the keys of the first."""
    with atomic_write(path, "w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _new_temporary(path: Path) -> Path:
    if os.path.isdir(path):
        raise OutputError(f"{path}: is a folder; name a file")
    special = is_special(path)
    if special and not os.access(path, os.W_OK):
        raise OutputError(f"{path}: cannot be written ({os.strerror(errno.EACCES)}); name another file")
    try:
        if not special:
            path.parent.mkdir(parents=True, exist_ok=True)
        folder = None if special else path.parent
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=folder)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({reason_of(error)}); choose another output folder") from error
    os.close(handle)
    return Path(name)


def _disk_error(error: BaseException | None) -> OSError | None:
    """What the disk said first: a writer that cleans up after it (torch.save) mostly fails again, in other words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return error
        error = error.__cause__ or error.__context__
    return None


def _copy_into(temporary: Path, path: Path) -> None:
    try:
        with open(temporary, "rb") as content, open(path, "wb", buffering=0) as file:
            shutil.copyfileobj(content, file)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({reason_of(error)})") from error


def _move(temporary: Path, path: Path) -> None:
    try:
        _set_default_mode(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be replaced ({reason_of(error)})") from error


def _keep(path: Path, kept: Path) -> None:
    """Give the file `path` the name `kept` too; where the file system has no links, in place of its own."""
    if not os.path.isfile(path):
        return
    link = kept.with_name(f".{kept.stem}-{secrets.token_hex(4)}{kept.suffix}")
    try:
        try:
            os.link(path, link)
        except OSError:
            os.replace(path, kept)
            return
        os.replace(link, kept)
        # Where both were names of one file already, that did nothing.
        link.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{kept}: cannot be replaced ({reason_of(error)})") from error


def _set_default_mode(path: Path) -> None:
    # mkstemp makes files that only their owner can read; an output has the permissions any new file would have.
    path.chmod(0o666 & ~_umask())


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
