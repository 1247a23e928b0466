"""What C libraries write to the standard error output, caught for the program to read."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress

from otadet.data import process_locks

_STDERR = 2


class CaughtStderr:
    """A context that gives a list, which holds after the block the lines written to the descriptor 2 in it.

    libjpeg reports damage there and nowhere else when it is called through OpenCV. Lines that do not match `expected`
    at their beginning, such as those of another thread, are passed on after the block. Costs about 10 microseconds.
    Where the process has no standard error output nothing is caught.
    """

    def __init__(self, expected: re.Pattern[str]) -> None:
        self._expected = expected
        self._lines: list[str] = []
        self._descriptors: tuple[int, int, int] | None = None
        """What was standard error output before; the read and the write end of a pipe."""

    def __enter__(self) -> list[str]:
        # What two threads caught could not be told apart.
        process_locks.STDERR.acquire()
        try:
            saved = os.dup(_STDERR)
        except OSError as error:
            if error.errno == errno.EBADF:
                return self._lines
            # There is one, but no descriptor to keep it by: damage would go unseen.
            self._restore()
            raise
        try:
            self._descriptors = saved, *_pipe()
            os.dup2(self._descriptors[2], _STDERR)
        except BaseException:
            if self._descriptors is None:
                os.close(saved)
            self._restore()
            raise
        return self._lines

    def __exit__(self, *error: object) -> None:
        self._restore()
        _pass_on([line for line in self._lines if line.strip() and not self._expected.match(line)])

    def _restore(self) -> None:
        try:
            if self._descriptors is not None:
                os.dup2(self._descriptors[0], _STDERR)
                self._lines += _text(self._descriptors[1]).splitlines()
                for descriptor in self._descriptors:
                    os.close(descriptor)
        finally:
            process_locks.STDERR.release()


def _pass_on(lines: list[str]) -> None:
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
