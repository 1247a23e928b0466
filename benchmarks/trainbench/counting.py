"""What one step asks of the device, as the profiler sees it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from otadet.profiling.meters import wait_for

WINDOW = "one step"
"""The name that the step has in the profile: the profiler waits for the device itself, outside of it."""
_LAUNCH = re.compile(r"(cuda|cu|hip)(Ext)?(Module)?(Launch(Cooperative)?Kernel(ExC?)?|GraphLaunch)(_\w+)?")
_WAIT = re.compile(r"(cuda|cu|hip)((Stream|Device|Event|Ctx)Synchronize|Memcpy|MemcpyWithStream)(_\w+)?")
_TO_HOST = re.compile(r"Memcpy DtoH.*|CopyDeviceToHost")
WAITING_OPERATORS = frozenset(
    f"aten::{name}" for name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")
)
"""Operators whose result a GPU's host must wait for; `.item()` and indexing with a mask contain one of them."""


@dataclass(frozen=True)
class Counts:
    """Of one step."""

    operators: int
    """Of ATen, without those that only call others."""
    waiting_operators: dict[str, int] = field(default_factory=dict)
    """Name -> how often, of those in `WAITING_OPERATORS`."""
    launches: int | None = None
    """Kernels that the host launched; None without a GPU. A graph of kernels is launched once."""
    waits: int | None = None
    """Calls with which the host waited for the GPU; None without one."""
    copies_to_host: int | None = None
    """None without a GPU."""


def count_step(step: Callable[[], Any], device: torch.device) -> Counts:
    """Profile one call."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    wait_for(device)
    with profile(activities=activities) as profiler:
        with record_function(WINDOW):
            step()
        wait_for(device)
    return count_events(profiler.events(), on_gpu=device.type == "cuda")


def count_events(events: Iterable[Any], *, on_gpu: bool) -> Counts:
    """Counts of the events, `FunctionEvent`s of `torch.profiler`, that are inside of the one called `WINDOW`."""
    events = list(events)
    window = next(event for event in events if event.name == WINDOW and event.device_type == DeviceType.CPU)
    start, end = window.time_range.start, window.time_range.end
    host = [
        event
        for event in events
        if event.device_type == DeviceType.CPU and start <= event.time_range.start <= end and event is not window
    ]
    operators = [event for event in host if _is_operator(event) and not any(map(_is_operator, event.cpu_children))]
    waiting = Counter(event.name for event in host if event.name in WAITING_OPERATORS)
    if not on_gpu:
        return Counts(len(operators), dict(waiting))
    # A copy runs on the device when its turn comes, which may be after the host has left the step.
    copies = [event for event in events if event.device_type != DeviceType.CPU and event.time_range.start >= start]
    return Counts(
        len(operators),
        dict(waiting),
        launches=sum(_LAUNCH.fullmatch(event.name) is not None for event in host),
        waits=sum(_WAIT.fullmatch(event.name) is not None for event in host),
        copies_to_host=sum(_TO_HOST.fullmatch(event.name) is not None for event in copies),
    )


def _is_operator(event: Any) -> bool:
    return event.name.startswith("aten::")
