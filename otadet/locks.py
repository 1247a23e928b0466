"""Locks on a byte of a file: a process's, so that they end with it however that ends."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""What `lock` raises where another process has the lock; anything else: the file system has none."""
_BYTE = 1 << 30
"""Far behind the text, which stays readable where a locked byte is not (Windows)."""


def is_same(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`: the holder of a moment ago may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def lock(handle: int) -> None:
        """Take the lock of an open file, at once. Raises `OSError`."""
        os.lseek(handle, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(handle, 0, os.SEEK_SET)

    def unlock(handle: int, path: Path) -> None:
        """Give it back, and remove the file."""
        os.close(handle)
        _remove(path)

else:
    import fcntl

    def lock(handle: int) -> None:
        """Take the lock of an open file, at once. Raises `OSError`."""
        # Not flock, whose lock would stay with the loader processes when this process is killed.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _BYTE)

    def unlock(handle: int, path: Path) -> None:
        """Give it back, and remove the file."""
        _remove(path)
        os.close(handle)


def _remove(path: Path) -> None:
    with suppress(OSError):
        # Another may have it open already (Windows); a file that is left does no harm.
        path.unlink(missing_ok=True)
