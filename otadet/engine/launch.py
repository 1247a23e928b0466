"""Starts one process a device on this machine, or joins the processes that torchrun started."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from otadet.engine.cores import limit_threads
from otadet.engine.stop import StopRequest
from otadet.errors import UserError

INTERRUPTED = 130
"""Exit status of a process that Ctrl-C or SIGTERM ended."""
_GRACE_SECONDS = 10.0
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


def launch(fn: Callable[..., None], devices: int | None, device: torch.device, args: tuple[Any, ...] = ()) -> None:
    """Call `fn(device, *args)` once per device, each in a process of its own, and wait for the end.

    devices: number of devices of the type of `device`; None: 1, or what torchrun says. One device is a plain call in
    this process. Processes talk through nccl on CUDA and gloo elsewhere. `fn` and `args` must be picklable when there
    are several. Raises `UserError` for devices that do not exist and for a `UserError` of any process, whichever was
    first; `RuntimeError` with the traceback for any other failure; `KeyboardInterrupt` when they were interrupted.
    """
    if all(name in os.environ for name in _TORCHRUN):
        _join_torchrun(fn, devices, device, args)
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


def _join_torchrun(fn: Callable[..., None], devices: int | None, device: torch.device, args: tuple[Any, ...]) -> None:
    _, local_rank, size = (int(os.environ[name]) for name in _TORCHRUN)
    if devices not in (None, size):
        raise UserError(f"-d {devices}: torchrun started {size} process(es); leave -d away")
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", local_rank + 1))
    _check_devices(local_size, device)
    limit_threads(local_size)
    if size == 1:
        fn(device, *args)
    else:
        with _process_group(device, local_rank, init_method="env://") as local_device:
            fn(local_device, *args)


def _spawn(fn: Callable[..., None], devices: int, device: torch.device, args: tuple[Any, ...]) -> None:
    context = mp.get_context("spawn")
    errors = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        seats = [_Seat(number, devices, device, store, mp.get_start_method()) for number in range(devices)]
        processes = [context.Process(target=_child, args=(seat, errors, fn, *args)) for seat in seats]
        with _forward_signals(processes) as stop:
            for process in processes:
                process.start()
            _join(processes)
    codes = [process.exitcode for process in processes]
    if INTERRUPTED in codes:
        raise KeyboardInterrupt
    if not errors.empty():
        number, is_user_error, text = errors.get()
        raise UserError(text) if is_user_error else RuntimeError(f"process {number} of {devices} failed:\n{text}")
    if stop.requested and any(codes):
        raise KeyboardInterrupt
    if any(codes):
        raise RuntimeError(f"the {devices} processes ended with status {codes}; -9 mostly means out of memory")


@dataclass(frozen=True)
class _Seat:
    """Which process of a group a child is."""

    rank: int
    size: int
    device: torch.device
    store: str
    """URI of the file through which the processes find each other."""
    start_method: str


def _child(seat: _Seat, errors: Any, fn: Callable[..., None], *args: Any) -> None:
    limit_threads(seat.size)
    # What this process starts (loader workers) need not be spawned as it was, which is slow.
    mp.set_start_method(seat.start_method, force=True)
    group = {"init_method": seat.store, "rank": seat.rank, "world_size": seat.size}
    try:
        with _process_group(seat.device, seat.rank, **group) as device:
            fn(device, *args)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except UserError as error:
        _fail(2, errors, (seat.rank, True, str(error)))
    except Exception:
        _fail(1, errors, (seat.rank, False, traceback.format_exc()))


def _fail(status: int, errors: Any, error: tuple[int, bool, str]) -> None:
    errors.put(error)
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: an orderly end would wait for the other processes, which wait for this one.
    os._exit(status)


@contextmanager
def _process_group(device: torch.device, local_rank: int, **options: Any) -> Iterator[torch.device]:
    """The process group, and the device of this process in it. Left in order only where nothing failed."""
    cuda = device.type == "cuda"
    if cuda:
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    # Python objects (detections, scores) travel between the hosts, so gloo is there besides nccl.
    nccl = cuda and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo", **options)
    yield device
    dist.destroy_process_group()


def _join(processes: list[Any]) -> None:
    """Wait for all; once one has failed the others, which may wait for it forever, are killed after a grace."""
    running = list(processes)
    while running:
        failed = any(process.exitcode for process in processes)
        ended = wait([process.sentinel for process in running], timeout=_GRACE_SECONDS if failed else None)
        if not ended:
            for process in running:
                process.kill()
        for process in running:
            if process.sentinel in ended:
                process.join()
        running = [process for process in running if process.exitcode is None]


@contextmanager
def _forward_signals(processes: list[Any]) -> Iterator[StopRequest]:
    """Leave Ctrl-C and SIGTERM to the processes, which save before they end."""
    stop = StopRequest()

    def forward(*_: object) -> None:
        stop.request()
        for process in processes:
            if process.is_alive():
                process.terminate()

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
