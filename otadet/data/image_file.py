"""Opens image files, which are untrusted: only regular files, and no more of them than a picture can need."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from otadet.errors import UserError, reason_of

_LONGEST_SHOWN = 200
_ALWAYS_READ = 2**30
"""Bytes of a file that are read whatever its picture's size: metadata, further pages and trailers belong to a file."""
_BYTES_PER_PIXEL = 16
"""The most that an uncompressed picture takes: four channels of 32 bits."""
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def shown(path: str | os.PathLike[str]) -> str:
    """A path for a message: bytes that are no UTF-8 and control characters escaped, of a very long one the two ends."""
    text = os.fspath(path)
    try:
        text = os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeError:
        # A surrogate that stands for no byte: no file can have such a name.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    text = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    half = _LONGEST_SHOWN // 2
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:half]}...{text[-half:]}"


def open_handle(path: str | Path) -> int:
    """The handle, to read, of what may be no file: a pipe that nobody writes to would keep its reader for ever."""
    return os.open(path, _READ)


def open_regular(path: str | Path) -> BinaryIO:
    """The file, opened to read. Raises as `open_sized` does."""
    return os.fdopen(open_sized(path)[0], "rb")


def open_sized(path: str | Path) -> tuple[int, int]:
    """A handle of the file, to read, and its size in bytes.

    Raises `UserError` for one that is missing, empty or no regular file: a device may do anything when it is opened.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _not_regular(path)
        # The second look is at what was opened, should the file have been replaced in between.
        handle = open_handle(path)
    except FileNotFoundError:
        raise UserError(f"{shown(path)}: no such image file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{shown(path)}: cannot be read: {reason_of(error)}") from error
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return handle, status.st_size
    os.close(handle)
    if stat.S_ISREG(status.st_mode):
        raise UserError(f"{shown(path)}: the image file is empty")
    raise _not_regular(path)


def size_of(file: BinaryIO) -> int:
    """Of an open file, in bytes."""
    return os.fstat(file.fileno()).st_size


def read_up_to(handle: int, size: int) -> bytes:
    """The next `size` bytes, fewer where the file ends before."""
    data = os.read(handle, size)
    # Some file systems hand out less at a time.
    while len(data) < size and (more := os.read(handle, size - len(data))):
        data += more
    return data


def read_whole(path: str | Path, file: BinaryIO, pixels: int) -> bytes:
    """All bytes of an open file. Raises `UserError` where it is far larger than a picture of `pixels` pixels can be."""
    size = size_of(file)
    if size > max(_ALWAYS_READ, _BYTES_PER_PIXEL * pixels):
        raise UserError(f"{shown(path)}: has {size:,} bytes, too many for a picture of {pixels:,} pixels")
    file.seek(0)
    return file.read(size)


def _not_regular(path: str | Path) -> UserError:
    kind = "a folder" if os.path.isdir(path) else "a pipe, a device or a socket"
    return UserError(f"{shown(path)}: is {kind}, not an image file")
