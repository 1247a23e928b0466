"""Decoded images in memory: one copy for all loader processes, and for all processes of a training on a machine.

The memory is a file without a name. It is read and written as a file is, not mapped: what a process maps and looks at
counts as its own, so that each would seem to grow until it had the whole cache.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from contextlib import suppress

import numpy as np

from otadet.data.cache.room import Plan
from otadet.data.image_files import ImageFiles
from otadet.errors import UserError, reason_of


class Block:
    """A file in memory, as long as this object lives in the process that made it; others open its path.

    Where the system has none (macOS, Windows) it is a temporary file, which the system keeps in memory as it can. No
    memory is taken before it is written. Raises `UserError` where it cannot be made.
    """

    def __init__(self, size: int) -> None:
        try:
            if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
                handle = os.memfd_create("otadet-images")
                self.path, temporary = f"/proc/{os.getpid()}/fd/{handle}", ""
            else:
                handle, self.path = tempfile.mkstemp(prefix="otadet-images-")
                temporary = self.path
            weakref.finalize(self, _close, os.getpid(), handle, temporary)
            os.truncate(handle, size)
        except OSError as error:
            raise UserError(
                f"cache memory: {size:,} bytes cannot be had ({reason_of(error)}); set run.cache none"
            ) from error


def _close(owner: int, handle: int, temporary: str) -> None:
    if os.getpid() != owner:
        return
    with suppress(OSError):
        os.close(handle)
    if temporary:
        with suppress(OSError):
            os.unlink(temporary)


class MemoryCache:
    """Images one after the other in a file, behind a byte for each that says whether it is there.

    Two processes that decode the same image at once write the same bytes.

    path: a file of `length(plan)` bytes, all 0 at first. block: what keeps it, in the process that made it.
    """

    def __init__(self, images: ImageFiles, plan: Plan, path: str, block: Block | None = None) -> None:
        self.path = path
        self._block = block
        self._shapes = images.decoded_sizes()
        self._kept = plan.kept
        self._places = len(plan.sizes) + plan.sizes.cumsum() - plan.sizes

    @staticmethod
    def length(plan: Plan) -> int:
        """Bytes of the file."""
        return len(plan.sizes) + int(plan.sizes.sum())

    def get(self, index: int) -> np.ndarray | None:
        """See `ImageCache`. None as well once the process that made the file has ended."""
        if not self._kept[index]:
            return None
        image = np.empty((*self._shapes[index].tolist(), 3), np.uint8)
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(index)
                if file.read(1) != b"\1":
                    return None
                file.seek(int(self._places[index]))
                return image if file.readinto(image.data.cast("B")) == image.nbytes else None
        except OSError:
            return None

    def put(self, index: int, image: np.ndarray) -> None:
        """See `ImageCache`."""
        if not self._kept[index] or image.shape != (*self._shapes[index].tolist(), 3):
            return
        pixels = np.ascontiguousarray(image).data.cast("B")
        # Where memory runs out, the image is decoded again the next time.
        with suppress(OSError), open(self.path, "r+b", buffering=0) as file:
            file.seek(int(self._places[index]))
            if file.write(pixels) == len(pixels):
                file.seek(index)
                file.write(b"\1")
