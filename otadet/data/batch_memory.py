"""Memory for the images of batches, used again as soon as nobody has them any more.

New memory is dear: the system hands it out page by page, each cleared at its first touch, which takes longer than
writing the pixels, and takes it back when a batch goes.
"""

from __future__ import annotations

import sys
import threading
from math import prod
from typing import Any

import numpy as np

_KEPT = 2
"""Blocks: one is being written while somebody still has the batch before."""
_LARGEST_KEPT_BY_MALLOC = 31 * 2**20
"""Bytes: a little less than the most that glibc learns from, on 64-bit systems."""


class BatchMemory:
    """Lends blocks of memory as arrays.

    A block is lent again once no array and no tensor that shares its memory is left: whoever has a batch may keep it as
    long as they like. At most two blocks are kept, each as large as the largest array that was asked for. Threads may
    share one of these; a copy that is sent to another process begins without blocks.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._unshared = 0
        self._lock = threading.Lock()

    def take(self, *shape: int) -> np.ndarray:
        """A uint8 array of that shape, of any content."""
        size = prod(shape)
        with self._lock:
            return self._block(size)[:size].reshape(shape)

    def _block(self, size: int) -> np.ndarray:
        """One that nobody has, of `size` bytes at least."""
        idle = [place for place in range(len(self._blocks)) if self._is_idle(place)]
        for place in idle:
            if self._blocks[place].size >= size:
                return self._blocks[place]
        if len(self._blocks) == _KEPT:
            # Else the oldest is left to those who have it.
            del self._blocks[idle[0] if idle else 0]
        if not self._blocks:
            _let_malloc_keep_pictures()
        self._blocks.append(np.empty(size, np.uint8))
        self._unshared = sys.getrefcount(self._blocks[-1])
        return self._blocks[-1]

    def _is_idle(self, place: int) -> bool:
        # Views of an array, and tensors made of them, hold a reference to it as long as they live.
        return sys.getrefcount(self._blocks[place]) == self._unshared

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchMemory, ()


def _let_malloc_keep_pictures() -> None:
    """Has the memory of pictures, which come and go one after the other, stay with this process.

    Where the C library is glibc, a large block goes back to the system when it is freed, unless a larger one, up to
    32 MB, went before it. Elsewhere this does nothing. The block is never touched, so it takes no memory.
    """
    np.empty(_LARGEST_KEPT_BY_MALLOC, np.uint8)
