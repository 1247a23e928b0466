"""The signals that ask a process for its end, and how they are kept from a process while it starts.

Imports next to nothing, as `engine.stop` does.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


def stop_signals() -> list[int]:
    """The signals that ask for an end. SIGHUP, a closed terminal's, only where nohup does not have it ignored."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:
        return [signal.SIGINT, signal.SIGTERM]
    return [signal.SIGINT, signal.SIGTERM, hangup]


@contextmanager
def held_back_signals() -> Iterator[None]:
    """Signals that arrive inside wait for the end of the block; a process started in it begins with them held back."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_signals() -> None:
    """Undo, in a process that was started in it, what `held_back_signals` holds back."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals())
