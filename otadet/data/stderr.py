"""What C libraries write to the standard error output, caught for the program to read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2
_one_at_a_time = threading.Lock()
"""The output belongs to the whole process, so what is caught could not be told apart."""


@contextmanager
def caught_stderr() -> Iterator[list[str]]:
    """A list that holds, after the block, the lines that were written to the descriptor 2 in it.

    libjpeg reports damage there and nowhere else when it is called through OpenCV. Lines of Python's `sys.stderr` are
    caught as well; who uses this passes on what is not meant for it. Costs about 10 microseconds. Where the process
    has no standard error output nothing is caught.
    """
    lines: list[str] = []
    with _one_at_a_time:
        try:
            saved = os.dup(_STDERR)
        except OSError:
            yield lines
            return
        read_end, write_end = _pipe()
        try:
            os.dup2(write_end, _STDERR)
            try:
                yield lines
            finally:
                os.dup2(saved, _STDERR)
        finally:
            lines += _text(read_end).splitlines()
            for descriptor in (saved, read_end, write_end):
                os.close(descriptor)


def pass_on(lines: list[str]) -> None:
    """Write caught lines to where they were going, if that still is there."""
    if not lines:
        return
    with suppress(OSError):
        os.write(_STDERR, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


def _pipe() -> tuple[int, int]:
    """Its read and its write end. Neither more text than it holds nor none at all blocks."""
    if hasattr(os, "pipe2"):
        return os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _text(descriptor: int) -> str:
    parts = []
    try:
        while part := os.read(descriptor, 2**16):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts).decode("utf-8", "backslashreplace")
