"""Signs of life between the processes of several hosts.

A collective operation that waits for a process which is gone says neither which one that is nor, where the network to
its host is cut, anything at all for a long time; and for how long it may wait depends on what the others do meanwhile
(read all images, evaluate, write a large file). Here every process says every second or so that it is there, in a
thread of its own, and one that does not for `timeout` seconds is gone, whatever the others are waiting for.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

_MOST_SECONDS = 2.0
"""Between two signs of life, where `timeout` is not small."""
_START = timedelta(minutes=30)
"""How long hosts wait for each other to start."""
_LEFT = "left"


@dataclass
class _Peer:
    """What is known of another process."""

    said: str = ""
    """Its last sign of life: a counter or `_LEFT`, its process id, its host."""
    at: float = 0.0
    """When it came."""

    @property
    def name(self) -> str:
        _, pid, host = self.said.split(" ", 2)
        return f"{host}, pid {pid}"

    @property
    def has_left(self) -> bool:
        return self.said.startswith(f"{_LEFT} ")


class Heartbeat:
    """The signs of life of one process, and those that it has seen of the others.

    Args:
        connect: -> a store that all processes share, over a connection of its own.
        timeout: seconds without a sign of life after which a process is gone.
        on_loss: called in a thread, once, with a message that names what is gone.
    """

    def __init__(
        self,
        connect: Callable[[], dist.Store],
        rank: int,
        size: int,
        timeout: float,
        on_loss: Callable[[str], None],
    ) -> None:
        self._rank, self._timeout, self._on_loss = rank, timeout, on_loss
        self._seconds = min(timeout / 10, _MOST_SECONDS)
        self._peers = {other: _Peer() for other in range(size) if other != rank}
        self._ended = threading.Event()
        self._count = 0
        self._store = connect()
        self._say(str(self._count))
        self._store.wait([str(other) for other in self._peers])
        self._contact = 0.0
        self._look()
        threads = (self._beat, self._watch)
        self._threads = [threading.Thread(target=thread, name=thread.__name__, daemon=True) for thread in threads]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        """Say that this process ends in order, and is not to be missed."""
        self.stop()
        self._say(_LEFT)

    def stop(self) -> None:
        """No further signs of life, and no interest in those of others."""
        self._ended.set()
        for thread in self._threads:
            # One that waits for a host that is gone does not end.
            thread.join(2 * self._seconds)

    def who_is_gone(self, patience: float = 5.0) -> str | None:
        """A message about the processes that give no sign of life from now on, for `patience` seconds; None: all do."""
        # What is seen a little later may have been said before.
        start = time.monotonic() + 2 * self._seconds
        while time.monotonic() < start + max(patience, 4 * self._seconds):
            if all(peer.at > start for peer in self._peers.values()):
                return None
            time.sleep(self._seconds / 4)
        return self._message([rank for rank, peer in self._peers.items() if peer.at <= start])

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds):
            self._count += 1
            try:
                self._say(str(self._count))
                self._look()
            except (RuntimeError, OSError):
                # The connection is lost. `_watch` finds out by the time that passes.
                return

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds):
            gone = self._silent(self._timeout)
            if gone:
                self._on_loss(self._message(gone, self._timeout))
                return

    def _silent(self, seconds: float) -> list[int]:
        """Ranks of the others without a sign of life for so long."""
        if time.monotonic() - self._contact > seconds:
            # Nobody can be seen; the store is on the host of process 0.
            return [0 if self._rank else next(iter(self._peers))]
        return [rank for rank, peer in self._peers.items() if self._contact - peer.at > seconds and not peer.has_left]

    def _say(self, text: str) -> None:
        self._store.set(str(self._rank), f"{text} {os.getpid()} {socket.gethostname()}")

    def _look(self) -> None:
        said = self._store.multi_get([str(rank) for rank in self._peers])
        self._contact = time.monotonic()
        for peer, text in zip(self._peers.values(), said, strict=True):
            if text.decode() != peer.said:
                peer.said, peer.at = text.decode(), self._contact

    def _message(self, ranks: list[int], seconds: float | None = None) -> str:
        named = ", ".join(f"process {rank} ({self._peers[rank].name})" for rank in ranks[:8])
        more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
        since = "" if seconds is None else f" for {seconds:g} s"
        return (
            f"no sign of life of {named}{more}{since}: killed, ended by an error of its own, or its host cannot be "
            "reached. Start all processes again with --resume auto, which goes on from the last checkpoint"
        )


@contextmanager
def heartbeat_of_torchrun(timeout: float) -> Iterator[Heartbeat]:
    """Signs of life between the processes that torchrun started; one that is gone ends this process with a message."""
    heart = Heartbeat(_connect, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), timeout, _end)
    try:
        yield heart
        heart.leave()
    finally:
        heart.stop()


def _connect() -> dist.Store:
    # Not the process group's: an operation that waits in that would hold up the signs of life.
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=_START)
    return dist.PrefixStore(f"signs of life, attempt {restarts()}", store)


def restarts() -> int:
    """How often torchrun has started this process again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def speaks_for_host() -> bool:
    """Whether this is the process that says what all those of its host find out."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _end(message: str) -> None:
    with suppress(OSError):  # of a terminal that has been closed
        if speaks_for_host():
            print(f"error: {message}", file=sys.stderr, flush=True)
    # The main thread waits in an operation that nothing else ends.
    os._exit(1)
