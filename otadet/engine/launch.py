"""Starts one process per device on this machine, or joins the processes that torchrun started."""

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
from datetime import timedelta
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from otadet.engine.cores import limit_threads
from otadet.engine.heartbeat import heartbeat_of_torchrun, restarts, speaks_for_host
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
_PATIENCE = timedelta(hours=12)
"""How long an operation waits for processes that are alive: one may read all images, or evaluate, while others wait."""
_PARENT_SECONDS = 1.0
"""Between two looks whether torchrun is still there."""
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


def launch(
    fn: Callable[..., None],
    devices: int | None,
    device: torch.device,
    args: tuple[Any, ...] = (),
    *,
    timeout: float = 300.0,
) -> None:
    """Call `fn(device, *args)` once per device, each in a process of its own, and wait for the end.

    devices: number of devices of the type of `device`; None: 1, or what torchrun says. One device is a plain call in
    this process. Processes talk through nccl on CUDA and gloo elsewhere. `fn` and `args` must be picklable when there
    are several; they end with the process that started them. timeout: seconds without a sign of life of a process of
    torchrun's after which the others end, and say which it is; here its death is noticed at once.

    Raises `UserError` for devices that do not exist, for a process that was killed and for a `UserError` of any
    process, whichever was first; `RuntimeError` with the traceback for any other failure; `KeyboardInterrupt` when they
    were interrupted, `Stopped` when they have saved and said so.
    """
    if all(name in os.environ for name in _TORCHRUN):
        if os.name == "posix":
            _end_with_torchrun()
        _join_torchrun(fn, devices, device, args, timeout)
        return
    devices = 1 if devices is None else devices
    _check_devices(devices, device)
    if devices == 1:
        fn(device, *args)
    else:
        _spawn(fn, devices, device, args)


def _check_devices(devices: int, device: torch.device) -> None:
    if devices < 1:
        raise UserError(f"-d {devices}: the number of devices must be at least 1")
    if device.type == "cuda" and devices > torch.cuda.device_count():
        raise UserError(f"-d {devices}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    if device.type not in ("cpu", "cuda") and devices > 1:
        raise UserError(f"-d {devices}: {device.type} can be used as one device only")


def _join_torchrun(
    fn: Callable[..., None], devices: int | None, device: torch.device, args: tuple[Any, ...], timeout: float
) -> None:
    _, local_rank, size = (int(os.environ[name]) for name in _TORCHRUN)
    if devices not in (None, size):
        raise UserError(f"-d {devices}: torchrun started {size} process(es); omit -d")
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", local_rank + 1))
    _check_devices(local_size, device)
    limit_threads(local_size)
    if size == 1:
        fn(device, *args)
        return
    with (
        heartbeat_of_torchrun(timeout) as heart,
        _process_group(device, local_rank, **_group_of_torchrun()) as local_device,
    ):
        try:
            fn(local_device, *args)
        except UserError:
            raise
        except Exception as error:
            # Where a process is gone the others fail in whatever they were about to tell each other.
            if (gone := heart.who_is_gone()) is None:
                raise
            if not speaks_for_host():
                raise MainProcessError(gone) from error
            raise UserError(f"{gone} ({type(error).__name__}: {str(error).partition('. ')[0][:200]})") from error


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


def _spawn(fn: Callable[..., None], devices: int, device: torch.device, args: tuple[Any, ...]) -> None:
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
        with _process_group(member.device, member.rank, **group) as device:
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


def _end_with_torchrun() -> None:
    """As `_end_with_launcher`, for a process that torchrun started (not on Windows, where parents leave no trace)."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_SECONDS)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, name="watch torchrun", daemon=True).start()


def _group_of_torchrun() -> dict[str, Any]:
    store, rank, size = next(dist.rendezvous("env://"))
    # A process that is started again must not find the addresses of those before it, which a store may outlive.
    return {"store": dist.PrefixStore(f"attempt {restarts()}", store), "rank": rank, "world_size": size}


@contextmanager
def _process_group(device: torch.device, local_rank: int, **options: Any) -> Iterator[torch.device]:
    """The process group, and the device of this process in it. Left in order only where nothing failed."""
    cuda = device.type == "cuda"
    if cuda:
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    # Python objects (detections, scores) travel between the hosts, so gloo is there besides nccl.
    nccl = cuda and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo", timeout=_PATIENCE, **options)
    yield device
    dist.destroy_process_group()


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
