"""Loader processes: each makes every W-th of a sequence of results, and all end with the process that started them.

PyTorch's DataLoader will not do: its workers share one pipe, so that one that is killed while it writes a large array
leaves the main process waiting for ever, and those whose main process was killed stay, stuck in that pipe. Tensors do
not go through the pipe, but each costs a descriptor and space in /dev/shm, which is 64 MB in most containers.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from loguru import logger

from otadet.data.transport import LACKING, Failure, made, receive, send, what_is_lacking
from otadet.errors import UserError, reason_of
from otadet.signals import held_back_signals, stop_signals, take_signals
from otadet.streams import flush_output

AHEAD = 2
"""Results that each worker makes before they are asked for."""
GRACE_SECONDS = 10.0
"""How long a result is still waited for after a wish to stop."""
_PATIENCE_SECONDS = 60.0
"""After which it is said that a result is waited for."""
_POLL_SECONDS = 0.5

Item = TypeVar("Item")
Result = TypeVar("Result")


def no_stop() -> bool:
    return False


@dataclass(frozen=True)
class Work(Generic[Item, Result]):
    """`make` of each of `items`, in order; numpy arrays in a result may be large. All must be picklable."""

    make: Callable[[Item], Result]
    items: Sequence[Item] | Any
    """Has a length, and is iterated once by every worker."""

    def results(self, workers: int, stop: Callable[[], bool] = no_stop) -> Iterator[Result]:
        """Made by that many processes, or by this one for 0.

        stop: whether to give up waiting for a result that takes long. Raises what `make` raises, and `UserError` for a
        worker that died or lacks memory or file descriptors.
        """
        if not workers:
            yield from map(self.make, self.items)
            return
        if not len(self.items):
            return
        # multiprocessing does so too, and would fail where a terminal has been closed.
        flush_output()
        try:
            pool = _Pool(self, min(workers, len(self.items)), stop)
        except OSError as error:
            raise UserError(f"the loader processes cannot be started: {reason_of(error)}; try fewer workers") from error
        try:
            for number in range(len(self.items)):
                yield pool.take(number)
        finally:
            pool.close()


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection


class _Pool:
    def __init__(self, work: Work, workers: int, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self._workers: list[_Worker] = []
        # Before multiprocessing's own, which would wait for the workers after a SIGTERM that they do not hear.
        self.close = Finalize(self, _end, (self._workers,), exitpriority=10)
        context = multiprocessing.get_context()
        forks = context.get_start_method() == "fork"
        if not forks:
            # Starting it lets the signals through that are held back below.
            resource_tracker.ensure_running()
        # A worker has no moment in which a signal could end it.
        with held_back_signals():
            for number in range(workers):
                here, there = context.Pipe()
                # What was open at a fork stays open in the child, where it would hide the end of this process.
                inherited = [worker.connection for worker in self._workers] + [here] if forks else []
                process = context.Process(
                    target=_work, args=(work, number, workers, there, inherited), name=f"loader {number}", daemon=True
                )
                process.start()
                there.close()
                self._workers.append(_Worker(process, here))

    def take(self, number: int) -> Any:
        worker = self._workers[number % len(self._workers)]
        self._wait_for(worker)
        try:
            result = receive(worker.connection)
            worker.connection.send_bytes(b"+")
        except (EOFError, ConnectionError) as error:
            raise UserError(_cause_of_death(worker.process)) from error
        except OSError as error:
            if error.errno in LACKING:
                raise UserError(what_is_lacking(error)) from error
            raise UserError(_cause_of_death(worker.process)) from error
        if isinstance(result, Failure):
            result.reraise()
        return result

    def _wait_for(self, worker: _Worker) -> None:
        begun, told, asked = time.monotonic(), 1, None
        while not worker.connection.poll(_POLL_SECONDS):
            now = time.monotonic()
            if now - begun > told * _PATIENCE_SECONDS:
                logger.warning(
                    f"waiting for images for {now - begun:.0f} seconds (loader process {worker.process.pid})"
                )
                told *= 2
            if not self._stop():
                continue
            asked = now if asked is None else asked
            if now - asked > GRACE_SECONDS:
                raise UserError(
                    f"loader process {worker.process.pid} has given no images for {now - begun:.0f} seconds, "
                    "and is not waited for any longer after the wish to stop; does the disk of the images answer?"
                )


def _end(workers: list[_Worker]) -> None:
    """They end by themselves when their pipe is closed, unless they hang."""
    for worker in workers:
        worker.connection.close()
    deadline = time.monotonic() + 1
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        worker.process.kill()
        worker.process.join(5)


def _work(work: Work, number: int, workers: int, connection: Connection, inherited: list[Connection]) -> None:
    """What a worker does. It leaves signals to the process that started it, and ends when that has."""
    for kind in stop_signals():
        signal.signal(kind, signal.SIG_IGN)
    take_signals()
    for other in inherited:
        other.close()
    # The workers share the cores already.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # So that not all of them draw the same, where somebody's transform uses a global generator.
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(number)
    try:
        for done, item in enumerate(islice(work.items, number, None, workers)):
            if done >= AHEAD and not _is_asked(connection):
                return
            send(connection, made(work.make, item))
        while _is_asked(connection):
            pass
    except ConnectionError:
        return


def _is_asked(connection: Connection) -> bool:
    """Waits for the main process to take a result. False: it has ended, or wants no more."""
    parent, parent_process = os.getppid(), multiprocessing.parent_process()
    sentinels = [] if parent_process is None else [parent_process.sentinel]
    while os.getppid() == parent:
        ready = wait([connection, *sentinels], timeout=5)
        if connection in ready:
            try:
                return bool(connection.recv_bytes())
            except (EOFError, ConnectionError):
                return False
        if ready:
            return False
    return False


def _cause_of_death(process: BaseProcess) -> str:
    process.join(5)
    code = process.exitcode
    who = f"loader process {process.pid}"
    if code is None:
        return f"{who} has closed its pipe, though it is alive"
    if code >= 0:
        return f"{who} ended with status {code}; workers 0 loads the images in the main process and shows why"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    reasons = {
        "SIGKILL": "mostly because memory ran out: try fewer workers, or a smaller batch_size",
        "SIGBUS": "mostly because memory or a disk under it ran out: try fewer workers, or a smaller batch_size",
    }
    hint = "workers 0 loads the images in the main process and shows which image it is"
    return f"{who} was killed by {name}, {reasons.get(name, f'so it crashed: {hint}')}"
