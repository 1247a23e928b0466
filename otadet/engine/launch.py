"""Runs a function once per device: here, in processes of this machine, or in those that torchrun started."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from otadet.engine.cores import limit_threads
from otadet.engine.heartbeat import heartbeat_of_torchrun, restarts, speaks_for_host
from otadet.engine.process_group import process_group
from otadet.engine.spawn import spawn
from otadet.engine.stop import INTERRUPTED
from otadet.errors import MainProcessError, UserError

_PARENT_SECONDS = 1.0
"""Between two looks whether torchrun is still there."""
MOST_ON_CPU = 64
"""Processes that train on one CPU, however few cores it has."""
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
        spawn(fn, devices, device, args)


def _check_devices(devices: int, device: torch.device) -> None:
    if devices < 1:
        raise UserError(f"-d {devices}: the number of devices must be at least 1")
    if device.type == "cpu" and devices > (most := max(MOST_ON_CPU, os.cpu_count() or 1)):
        raise UserError(f"-d {devices}: at most {most} processes of a CPU train together; one per core is enough")
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
        process_group(device, local_rank, **_group_of_torchrun()) as local_device,
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
