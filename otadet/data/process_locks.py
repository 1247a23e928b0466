"""Locks for what belongs to the whole process, so that it is changed by one thread at a time.

A process that is forked has none of the other threads, which could not release what they hold, nor undo what they
changed. So nothing is forked while they hold any.
"""

from __future__ import annotations

import os
import threading

STDERR = threading.Lock()
"""The descriptor of the standard error output. Who takes both takes this first."""
PILLOW = threading.Lock()
"""The settings of Pillow, and the filters of warnings."""


def _take() -> None:
    STDERR.acquire()
    PILLOW.acquire()


def _release() -> None:
    PILLOW.release()
    STDERR.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take, after_in_parent=_release, after_in_child=_release)
