"""Files from the net: fetched once, checked, and gone on with where a transfer broke off."""

from __future__ import annotations

import hashlib
import os
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from otadet.errors import UserError
from otadet.files import check_writable

_BLOCK = 1 << 20
_TIMEOUT = 30.0
"""Seconds without a byte, after which a transfer counts as broken."""
MAX_BYTES = 1 << 31
"""Of a file whose size nobody has said."""


def fetch(address: str, path: str | Path, sha256: str, size: int | None = None) -> Path:
    """`path`, fetched from `address` unless it is there; checked either way.

    What has come of a transfer that broke off lies beside it, as PATH.part, and the next call goes on there.

    Args:
        sha256: hexadecimal digits that the file's SHA-256 begins with.
        size: bytes; None: whatever comes, up to `MAX_BYTES`.

    Raises `UserError`, with what to do, where it cannot be fetched, or is another file than that.
    """
    path = Path(path)
    if not path.is_file():
        check_writable(path)
        part = path.with_name(f"{path.name}.part")
        _transfer(address, part, path, size or MAX_BYTES)
        _check(part, address, sha256, size)
        os.replace(part, path)
    _check(path, address, sha256, size)
    return path


def _transfer(address: str, part: Path, path: Path, most: int) -> None:
    """Append to `part` what is missing of it."""
    there = part.stat().st_size if part.is_file() else 0
    request = Request(address, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:
            # A server that does not know ranges sends the whole file.
            goes_on = there > 0 and answer.status == 206
            with open(part, "ab" if goes_on else "wb") as file:
                while block := answer.read(_BLOCK):
                    file.write(block)
                    if file.tell() > most:
                        break
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
        raise UserError(f"{part}: cannot be written ({error.strerror})") from error


def _cannot(address: str, path: Path) -> str:
    return f"{address}: cannot be fetched; where there is no net, put the file at {path} by yourself"


def _check(file: Path, address: str, sha256: str, size: int | None) -> None:
    """Remove the file, and raise `UserError`, unless it is the one that is meant."""
    found = file.stat().st_size
    if size is None or found == size:
        digest = _sha256(file)
        if digest.startswith(sha256.lower()):
            return
        problem = f"its SHA-256 is {digest}, but should begin with {sha256}"
    else:
        problem = f"it has {found:,} bytes, but should have {size:,}"
    file.unlink()
    raise UserError(f"{file}: is not what {address} should hold: {problem}; it was removed")


def _sha256(file: Path) -> str:
    found = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
