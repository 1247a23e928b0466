"""What goes from a loader process to the one that started it: results with large arrays, and exceptions."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from otadet.errors import UserError
from otadet.integers import ceil_div

LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
"""What the system says where there is no more of something."""
_ALIGNMENT = 64
_HAS_ANONYMOUS_FILES = hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")


@dataclass(frozen=True)
class Failure:
    """An exception on its way to the main process."""

    error: Exception
    trace: str

    def reraise(self) -> None:
        """Raise it, with the trace of the process that it comes from unless it is a `UserError`."""
        if isinstance(self.error, UserError):
            raise self.error
        raise self.error from RuntimeError(f"in a loader process:\n{self.trace}")


def made(make: Callable[[Any], Any], item: Any) -> Any:
    """What `make` makes of the item, or the `Failure` to do so."""
    try:
        return make(item)
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> Failure:
    trace = traceback.format_exc()
    lacking = isinstance(error, MemoryError) or getattr(error, "errno", None) in LACKING
    if lacking and not isinstance(error, UserError):
        return Failure(UserError(what_is_lacking(error)), trace)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Failure(error, trace)


def send(connection: Connection, result: Any) -> None:
    """Pickled; its arrays, where that can be, in anonymous memory of which one descriptor goes along."""
    if not _HAS_ANONYMOUS_FILES:
        connection.send_bytes(pickle.dumps((result, None)))
        return
    memory = None
    try:
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
        places = []
        memory = os.memfd_create("otadet-batch")
        with open(memory, "wb", closefd=False) as file:
            for buffer in buffers:
                with buffer.raw() as raw:
                    start = ceil_div(file.tell(), _ALIGNMENT) * _ALIGNMENT
                    file.seek(start)
                    file.write(raw)
                    places.append((start, start + len(raw)))
        os.ftruncate(memory, max(places[-1][1], 1) if places else 1)
        message = pickle.dumps((data, places))
    except Exception as error:
        message = pickle.dumps((_failure(error), None))
        if memory is not None:
            os.close(memory)
            memory = None
    try:
        connection.send_bytes(message)
        if memory is not None:
            with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                socket.send_fds(channel, [b"m"], [memory])
    finally:
        if memory is not None:
            os.close(memory)


def receive(connection: Connection) -> Any:
    """What the other end gave to `send`. Raises `OSError` where there is no descriptor left to take its arrays with."""
    data, places = pickle.loads(connection.recv_bytes())
    if places is None:
        return data
    with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    if not descriptors:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    try:
        # Python's mmap would keep a descriptor open as long as a result lives.
        size = os.fstat(descriptors[0]).st_size
        memory = torch.from_file(f"/proc/self/fd/{descriptors[0]}", shared=True, size=size, dtype=torch.uint8).numpy()
    finally:
        os.close(descriptors[0])
    return pickle.loads(data, buffers=[memory[start:end] for start, end in places])


def what_is_lacking(error: Exception) -> str:
    """What to do about a `MemoryError`, or an `OSError` with one of the numbers `LACKING`."""
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        return "too many open files: raise the limit, as in ulimit -n 4096, or use fewer workers"
    return f"a loader process lacks memory ({error}): try fewer workers, or a smaller batch_size"
