"""How many images fit into the memory of a device: tried on a GPU, estimated from few on a CPU."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from otadet.data.cache.room import free_memory
from otadet.data.transforms.largest import Size
from otadet.errors import UserError
from otadet.system_files import text_of

MARGIN = 0.1
"""Share of the memory that is left free: for what a training meets that the trial did not, and for others."""
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass(frozen=True)
class Fit:
    """What was found out of the memory."""

    images: int
    """At once; 0 where not even the smallest number fits."""
    peak: int
    """Bytes that these need; where none fits, more than there is room for."""
    room: int
    """Bytes that there are, less the margin."""
    fewest: int = 1
    """The smallest number that was asked for."""


Trial = Callable[[int, Size], None]
"""(images at once, their size) -> a whole step of the training."""


class Meter(Protocol):
    """Measures what a call needs at the most."""

    room: int
    """Bytes that may be taken in all."""

    def peak(self, call: Callable[[], None]) -> int | None:
        """Bytes that are taken at the most during the call; None where it was more than there are.

        What the call leaves behind may stay until the next one: `let_go` gives it back.
        """


def let_go(device: torch.device) -> None:
    """Give back what an exception or a model that refers to itself holds on to, and what the allocator keeps."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class CudaMeter:
    """The memory of a GPU, of which the allocator may take `room` and no more during a call."""

    def __init__(self, device: torch.device) -> None:
        # What sets the allocator's share takes no device without a number.
        self._device = device = torch.device(
            "cuda", torch.cuda.current_device() if device.index is None else device.index
        )
        free, self._total = torch.cuda.mem_get_info(device)
        # What the allocator keeps is this process's to use, whether it is in use or not.
        self.room = int((1 - MARGIN) * (free + torch.cuda.memory_reserved(device)))

    def peak(self, call: Callable[[], None]) -> int | None:
        # What another call has left would count as this one's. What this one leaves is the next one's to give back.
        let_go(self._device)
        cuda: Any = torch.cuda
        before = getattr(cuda, "get_per_process_memory_fraction", lambda device: 1.0)(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        # Libraries that ask the driver for memory, and say in their own ways that there is none, then still find some.
        torch.cuda.set_per_process_memory_fraction(min(before, self.room / self._total), self._device)
        try:
            call()
            torch.cuda.synchronize(self._device)
            return torch.cuda.max_memory_reserved(self._device)
        except torch.cuda.OutOfMemoryError:
            return None
        finally:
            torch.cuda.set_per_process_memory_fraction(before, self._device)


class HostMeter:
    """The memory of this process, of which the kernel knows the peak (Linux).

    processes: that share what is free. reserved: bytes of it that something else is going to take. Raises `UserError`
    where it cannot be measured.
    """

    def __init__(self, processes: int = 1, reserved: int = 0) -> None:
        free = free_memory()
        if free is None or self._taken("VmHWM") is None or not self._forget_peak():
            raise UserError(
                "batch_size auto: this system does not say how much memory a process has taken; "
                "give batch_size a number, and run.accumulate another"
            )
        self.room = int((1 - MARGIN) * (max(free - reserved, 0) / processes + (self._taken("VmRSS") or 0)))

    def peak(self, call: Callable[[], None]) -> int | None:
        gc.collect()
        self._forget_peak()
        call()
        return self._taken("VmHWM")

    def _forget_peak(self) -> bool:
        try:
            _RESET.write_text(_RESET_PEAK, encoding="ascii")
        except OSError:
            return False
        return True

    def _taken(self, name: str) -> int | None:
        found = re.search(rf"^{name}:\s*(\d+) kB", text_of(_STATUS), re.MULTILINE)
        return None if found is None else 1024 * int(found[1])


def largest_tried(numbers: Sequence[int], sizes: Sequence[Size], trial: Trial, meter: Meter) -> Fit:
    """The largest of `numbers` of images that fits, found by trying, the largest first, at the last of `sizes`."""
    peak = 0
    for images in sorted(numbers, reverse=True):
        peak = _measured(images, sizes[-1], trial, meter)
        if peak <= meter.room:
            return Fit(images, peak, meter.room, min(numbers))
    return Fit(0, peak, meter.room, min(numbers))


def largest_estimated(numbers: Sequence[int], sizes: Sequence[Size], trial: Trial, meter: Meter) -> Fit:
    """The largest of `numbers` of images that fits at the last of `sizes`, by a line through what fewer pixels need.

    Nothing is tried that would not fit by an estimate from less: a process that takes more than there is drives the
    whole machine into swapping, or is killed.

    sizes: in ascending order, from one that fits anywhere.
    """
    first, *more = sorted(numbers)
    line = _Line()
    for images, size in [*((first, size) for size in sizes), *((images, sizes[-1]) for images in more[:1])]:
        if (expected := line.at(images, size)) > meter.room:
            if images == first:
                return Fit(0, expected, meter.room, first)
            break
        line.points.append((images * size[0] * size[1], _measured(images, size, trial, meter)))
    estimates = {images: line.at(images, sizes[-1]) for images in (first, *more)}
    fitting = [images for images, estimate in estimates.items() if estimate <= meter.room]
    if not fitting:
        return Fit(0, estimates[first], meter.room, first)
    return Fit(max(fitting), estimates[max(fitting)], meter.room, first)


@dataclass
class _Line:
    """Memory by number of pixels."""

    points: list[tuple[int, int]] = field(default_factory=list)
    """(pixels, bytes), pixels rising."""

    def at(self, images: int, size: Size) -> int:
        """What so many images need, by the last two points; by the first and the last where these are level."""
        if len(self.points) < 2:
            return max((peak for _, peak in self.points), default=0)
        pixels, peak = self.points[-1]
        slopes = [(peak - other) / (pixels - fewer) for fewer, other in (self.points[-2], self.points[0])]
        slope = next((slope for slope in slopes if slope > 0), 0.0)
        return int(peak + slope * (images * size[0] * size[1] - pixels))


def _measured(images: int, size: Size, trial: Trial, meter: Meter) -> int:
    """The peak, or more than there is room for."""
    peak = meter.peak(lambda: trial(images, size))
    return meter.room + 1 if peak is None else peak
