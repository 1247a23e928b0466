"""Starts one process per device on this machine, waits for them, and says how they ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

from otadet.engine.cores import limit_threads
from otadet.engine.process_group import process_group
from otadet.engine.stop import (
    INTERRUPTED,
    REPEAT_SECONDS,
    AnswersEarly,
    Interruption,
    Stopped,
    end_at_once_on_signals,
    leave,
)
from otadet.errors import MainProcessError, UserError
from otadet.signals import held_back_signals, stop_signals, take_signals
from otadet.streams import flush_output

_GRACE_SECONDS = 10.0
"""How long the others have to end by themselves once one has failed."""


@dataclass(frozen=True)
class _Member:
    """Which process of a group a child is."""

    rank: int
    size: int
    device: torch.device
    store: str
    """URI of the file through which the processes find each other."""
    start_method: str


@dataclass(frozen=True)
class _Report:
    """How a child ended that did not end well."""

    rank: int
    error: str
    """A `UserError`'s message, or any other exception's traceback."""
    is_user_error: bool = False
    stopped: bool = False
    """It granted a wish to stop, and said so."""
    time: float = 0.0
    """Of a clock that all processes of the machine share."""


def spawn(fn: Callable[..., None], devices: int, device: torch.device, args: tuple[Any, ...]) -> None:
    """Call `fn(device, *args)` in as many new processes; all else is as in `launch`."""
    context = mp.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(devices)]
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        members = [_Member(number, devices, device, store, mp.get_start_method()) for number in range(devices)]
        processes = [
            context.Process(target=AnswersEarly(_child), args=(member, sender, fn, *args))
            for member, (_, sender) in zip(members, pipes, strict=True)
        ]
        with _forward_signals(processes) as stop:
            if os.name == "posix":
                # Starting it lets signals through again.
                resource_tracker.ensure_running()
            # Until a child can answer signals they wait for it: before that they would kill it without a word.
            with held_back_signals():
                for process in processes:
                    process.start()
            _join(processes, stop)
    reports = [receiver.recv() for receiver, _ in pipes if receiver.poll()]
    _raise_worst(processes, sorted(reports, key=lambda report: report.time), stop)


def _raise_worst(processes: Sequence[Any], reports: Sequence[_Report], stop: _Launched) -> None:
    """Raise what explains best how the processes ended; nothing where all did what they were to do."""
    codes = [process.exitcode for process in processes]
    if not any(codes):
        return
    by_others = [rank for rank, code in enumerate(codes) if code < 0 and rank not in stop.killed]
    if by_others and not stop.requested:
        raise UserError(_killed_message(processes, by_others))
    for report in reports:
        if report.is_user_error:
            raise UserError(report.error)
    if any(report.stopped for report in reports):
        raise Stopped
    if stop.requested or INTERRUPTED in codes:
        raise KeyboardInterrupt
    for report in reports:
        raise RuntimeError(f"process {report.rank} of {len(codes)} failed:\n{report.error}")
    raise RuntimeError(f"the {len(codes)} processes ended with status {codes}")


def _killed_message(processes: Sequence[Any], ranks: Sequence[int]) -> str:
    rank = ranks[0]
    code = -processes[rank].exitcode
    try:
        name = signal.Signals(code).name
    except ValueError:
        name = f"signal {code}"
    why = ""
    if name == "SIGKILL":
        why = "; where nobody did so by hand, memory ran out: lower batch_size or workers"
    others = f" (as were {', '.join(map(str, ranks[1:]))})" if ranks[1:] else ""
    return (
        f"process {rank} of {len(processes)} (pid {processes[rank].pid}) was killed by {name}{others}{why}. "
        "The others were ended; --resume goes on from the last checkpoint"
    )


def _child(member: _Member, sender: Connection, fn: Callable[..., None], *args: Any) -> None:
    interruption = Interruption()
    stopped: bool | None = None
    try:
        interruption.install()
        take_signals()
        _end_with_launcher()
        limit_threads(member.size)
        # What this process starts (loader workers) need not be spawned as it was, which is slow.
        mp.set_start_method(member.start_method, force=True)
        group = {"init_method": member.store, "rank": member.rank, "world_size": member.size}
        with process_group(member.device, member.rank, **group) as device:
            fn(device, *args)
    except KeyboardInterrupt as error:
        stopped = isinstance(error, Stopped)
    except MainProcessError:
        _leave(2)
    except UserError as error:
        _leave(2, sender, _Report(member.rank, str(error), is_user_error=True, time=time.monotonic()))
    except Exception:
        if interruption.requested:
            _leave(INTERRUPTED)
        _leave(1, sender, _Report(member.rank, traceback.format_exc(), time=time.monotonic()))
    end_at_once_on_signals()
    if stopped is not None:
        sender.send(_Report(member.rank, "interrupted", stopped=stopped))
    # Threads of the process group that still run would abort a process that is taken apart.
    leave(0 if stopped is None else INTERRUPTED)


def _leave(status: int, sender: Connection | None = None, report: _Report | None = None) -> None:
    if sender is not None:
        sender.send(report)
    with suppress(OSError):
        flush_output()
    # At once: an orderly end would wait for the other processes, which wait for this one.
    os._exit(status)


def _end_with_launcher() -> None:
    """Let this process end when the one that started it does, in whatever way: nobody would stop it otherwise."""

    def watch() -> None:
        if (launcher := multiprocessing.parent_process()) is not None:
            launcher.join()
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, name="watch the launcher", daemon=True).start()


@dataclass
class _Launched:
    """What befell the processes of a launch from its side."""

    requested: bool = False
    """Whether a signal asked for a stop."""
    first: float = 0.0
    """When it did."""
    killed: tuple[int, ...] = ()
    """Ranks that the launcher killed, rather than anybody else."""

    def kill(self, processes: Sequence[Any]) -> None:
        """Kill those that still run."""
        self.killed = (*self.killed, *(rank for rank, process in enumerate(processes) if process.exitcode is None))
        for process in processes:
            if process.is_alive():
                process.kill()


def _join(processes: Sequence[Any], stop: _Launched) -> None:
    """Wait for all; once one has failed the others, which may wait for it forever, are killed after a grace."""
    running = list(processes)
    while running:
        failed = any(process.exitcode for process in processes)
        ended = wait([process.sentinel for process in running], timeout=_GRACE_SECONDS if failed else None)
        if not ended:
            stop.kill(processes)
        for process in running:
            if process.sentinel in ended:
                process.join()
        running = [process for process in running if process.exitcode is None]


@contextmanager
def _forward_signals(processes: Sequence[Any]) -> Iterator[_Launched]:
    """Leave Ctrl-C and SIGTERM to the processes, which save before they end; a second Ctrl-C kills them."""
    launched = _Launched()

    def forward(number: int, frame: object) -> None:
        again = launched.requested and time.monotonic() - launched.first >= REPEAT_SECONDS
        if number == signal.SIGINT and again:
            launched.kill(processes)
        if not launched.requested:
            launched.requested, launched.first = True, time.monotonic()
            for process in processes:
                # On Windows this would be a kill, and Ctrl-C reaches them by itself.
                if os.name == "posix" and process.pid is not None and process.is_alive():
                    process.terminate()

    previous = {number: signal.signal(number, forward) for number in stop_signals()}
    try:
        yield launched
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
