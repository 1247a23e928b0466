"""Small text files of a data set, such as lists and label files, which are untrusted: their text, or one error."""

from __future__ import annotations

import codecs
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from otadet.data.image_file import open_handle, shown
from otadet.errors import UserError, reason_of

_BYTES_AT_MOST = 2**28
_THREADS = 8
_AT_ONCE = 32
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_bytes(path: str | Path, what: str, at_most: int = _BYTES_AT_MOST) -> bytes:
    """All bytes of a regular file.

    Args:
        path: the file.
        what: what it should be, for messages, such as "label file".
        at_most: bytes of the largest that is read.

    Raises `UserError` naming the file when it is missing, larger, no regular file, or cannot be read.
    """
    try:
        handle = open_handle(path)
    except FileNotFoundError:
        raise UserError(f"{shown(path)}: no such {what}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{shown(path)}: cannot be read: {reason_of(error)}") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{shown(path)}: is a folder, a pipe or a device, and no {what}")
        if status.st_size > at_most:
            raise UserError(
                f"{shown(path)}: has {status.st_size:,} bytes, too many: {at_most:,} are read of one {what}"
            )
        data = os.read(handle, status.st_size)
        while len(data) < status.st_size and (more := os.read(handle, status.st_size - len(data))):
            data += more
        return data
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read: {reason_of(error)}") from error
    finally:
        os.close(handle)


def read_many(paths: Sequence[str], what: str, at_most: int = _BYTES_AT_MOST) -> Iterator[bytes | UserError]:
    """`read_bytes` of each, in their order, or its error, for the caller to raise.

    Some are read ahead, since opening a file mostly is waiting for a disk.
    """

    def read(batch: Sequence[str]) -> list[bytes | UserError]:
        found: list[bytes | UserError] = []
        for path in batch:
            try:
                found.append(read_bytes(path, what, at_most))
            except UserError as error:
                found.append(error)
        return found

    batches = iter(paths[first : first + _AT_ONCE] for first in range(0, len(paths), _AT_ONCE))
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting = deque(pool.submit(read, batch) for batch in islice(batches, 2 * _THREADS))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(read, batch) for batch in islice(batches, 1))
            yield from done


def unmarked(data: bytes) -> tuple[bytes, str | None]:
    """The bytes less their byte order mark, and the encoding that it tells; None where there is no mark."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :], encoding
    return data, None


def read_text(path: str | Path, what: str, at_most: int = _BYTES_AT_MOST, errors: str = "strict") -> str:
    """The text of a file in UTF-8, or in UTF-16 or 32 with a byte order mark; its lines end with "\\n".

    errors: as in `bytes.decode`; "surrogateescape" for names of files, which need not be UTF-8. Raises as `read_bytes`,
    and `UserError` naming the byte that is in another encoding.
    """
    data, encoding = unmarked(read_bytes(path, what, at_most))
    try:
        text = data.decode(encoding or "utf-8", errors)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{shown(path)}: is not in UTF-8 ({error.reason} at byte {error.start}); save it in UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
