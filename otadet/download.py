"""Files from the net: fetched once by whoever asks first, checked, and gone on with where a transfer broke off."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from otadet.errors import OutputError, UserError, reason_of
from otadet.files import check_writable
from otadet.locks import TAKEN, is_same, lock, unlock

_BLOCK = 1 << 20
_TIMEOUT = 30.0
"""Seconds without a byte, after which a transfer counts as broken."""
_PATIENCE = 0.1
"""Seconds between two looks at whether another process has finished."""
MAX_BYTES = 1 << 31
"""Of a file whose size nobody has said."""

_THREADS = threading.Lock()
"""Locks of files are a process's, and keep no two of its threads apart."""


def cache_folder() -> Path:
    """Where files from the net are kept: `OTADET_CACHE`, or ~/.cache/otadet. Raises `UserError` where there is none."""
    try:
        return Path(os.environ.get("OTADET_CACHE") or "~/.cache/otadet").expanduser()
    except RuntimeError as error:
        raise UserError(
            "there is no home folder to keep downloads in; set OTADET_CACHE to a folder for them"
        ) from error


def fetch(address: str, path: str | Path, sha256: str, size: int | None = None) -> Path:
    """`path`, fetched from `address` unless it is there; checked either way.

    What has come of a transfer that broke off lies beside it, as PATH.part, and the next call goes on there. Of several
    processes one fetches, and the others wait for it.

    Args:
        sha256: hexadecimal digits that the file's SHA-256 begins with.
        size: bytes; None: whatever comes, up to `MAX_BYTES`.

    Raises `UserError`, with what to do, where it cannot be fetched, or is another file than that.
    """
    path = Path(path)
    if not path.is_file():
        _check_writable(path)
        with _one_process(path):
            if not path.is_file():
                part = path.with_name(f"{path.name}.part")
                _transfer(address, part, path, size)
                if problem := _problem(part, sha256, size):
                    part.unlink()
                    raise UserError(f"{address}: is not the file that was published: {problem}; it was not kept")
                os.replace(part, path)
                return path
    if problem := _problem(path, sha256, size):
        raise UserError(f"{path}: is not what {address} should hold: {problem}; remove it to have it fetched anew")
    return path


def _check_writable(path: Path) -> None:
    try:
        check_writable(path)
    except OutputError as error:
        reason = str(error).rpartition(";")[0]
        raise OutputError(f"{reason}; downloads are kept in the folder that OTADET_CACHE names") from error


@contextmanager
def _one_process(path: Path) -> Iterator[None]:
    """Wait until no other process or thread fetches `path`, and keep others from it for the block."""
    file = path.with_name(f".{path.name}.lock")
    with _THREADS:
        handle = _locked(file)
        try:
            yield
        finally:
            if handle is not None:
                unlock(handle, file)


def _locked(file: Path) -> int | None:
    """The open, locked file; None where the file system has no locks."""
    waits = False
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(handle)
        except OSError as error:
            os.close(handle)
            if error.errno not in TAKEN:
                return None
            if not waits:
                print(f"{file.parent}: waiting for another process that fetches the same file", file=sys.stderr)
            waits = True
            time.sleep(_PATIENCE)
            continue
        if is_same(handle, file):
            return handle
        os.close(handle)


def _transfer(address: str, part: Path, path: Path, size: int | None) -> None:
    """Append to `part` what is missing of it, and say so on stderr. size: of the whole, in bytes, where it is known."""
    # They take a tenth of a second, and most of the time all files are there.
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    there = part.stat().st_size if part.is_file() else 0
    request = Request(address, headers={"Range": f"bytes={there}-"} if there else {})
    of = "" if size is None else f", {size / 1e6:.1f} MB"
    print(f"fetching {address}{of}, into {path.parent}", file=sys.stderr, flush=True)
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:
            # A server that does not know ranges sends the whole file.
            goes_on = there > 0 and answer.status == 206
            with open(part, "ab" if goes_on else "wb") as file:
                while block := answer.read(_BLOCK):
                    file.write(block)
                    _show_progress(file.tell(), size)
                    if file.tell() > (size or MAX_BYTES):
                        return  # it is another file, as will be found
            expected = answer.length
        if expected:
            raise HTTPException(f"{expected} bytes are missing")
    except HTTPError as error:
        if error.code == 416:  # all of it is there
            return
        raise UserError(f"{_cannot(address, path)} (status {error.code})") from error
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{_cannot(address, path)} ({reason}); the same command goes on where it broke off") from error
    except OSError as error:
        raise OutputError(f"{part}: cannot be written ({reason_of(error)})") from error


def _show_progress(done: int, size: int | None) -> None:
    if size and sys.stderr.isatty():
        end = "\n" if done >= size else ""
        print(f"\r{min(100 * done // size, 100)} %", end=end, file=sys.stderr, flush=True)


def _cannot(address: str, path: Path) -> str:
    return f"{address}: cannot be fetched; where there is no net, put the file at {path} by yourself"


def _problem(file: Path, sha256: str, size: int | None) -> str:
    """What shows that it is another file than the one that is meant; "" where nothing does."""
    found = file.stat().st_size
    if size is not None and found != size:
        return f"it has {found:,} bytes, but should have {size:,}"
    digest = sha256_of(file)
    return "" if digest.startswith(sha256.lower()) else f"its SHA-256 is {digest}, but should begin with {sha256}"


def sha256_of(file: Path) -> str:
    """Hexadecimal digits."""
    found = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
