"""How many images fit: by trying, the largest first, or by an estimate that never takes too much."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch

from otadet.engine.memory import MARGIN, CudaMeter, HostMeter, largest_estimated, largest_tried, let_go
from otadet.errors import UserError

SIZES = [(32, 32), (64, 64), (128, 128)]
NUMBERS = [1, 2, 4, 8, 16]


class Pretended:
    """A memory in which an image takes `per_pixel` bytes per pixel, and all else `fixed`."""

    def __init__(self, room: int, per_pixel: float = 1.0, fixed: int = 5_000) -> None:
        self.room, self._per_pixel, self._fixed = room, per_pixel, fixed
        self.tried: list[tuple[int, tuple[int, int]]] = []

    def trial(self, images: int, size: tuple[int, int]) -> None:
        self.tried.append((images, size))

    def peak(self, call: Callable[[], None]) -> int | None:
        call()
        images, (height, width) = self.tried[-1]
        taken = int(self._fixed + self._per_pixel * images * height * width)
        return taken if taken <= self.room / (1 - MARGIN) else None


@pytest.mark.parametrize(("room", "images"), [(10**9, 16), (150_000, 8), (30_000, 1), (20_000, 0), (100, 0)])
@pytest.mark.parametrize("search", [largest_tried, largest_estimated])
def test_the_largest_that_fits_is_found(search, room: int, images: int) -> None:
    memory = Pretended(room)
    fit = search(NUMBERS, SIZES, memory.trial, memory)
    assert (fit.images, fit.room) == (images, room)
    if images:
        assert fit.peak == 5_000 + images * 128 * 128
    else:
        assert fit.peak > room
        assert fit.fewest == 1


def test_the_largest_is_tried_first() -> None:
    memory = Pretended(150_000)
    largest_tried(NUMBERS, SIZES, memory.trial, memory)
    assert memory.tried == [(16, (128, 128)), (8, (128, 128))]


@pytest.mark.parametrize("room", [10**9, 150_000, 60_000, 40_000, 22_000, 21_000, 9_500, 9_000])
def test_nothing_that_would_not_fit_is_tried_on_the_host(room: int) -> None:
    memory = Pretended(room)
    largest_estimated(NUMBERS, SIZES, memory.trial, memory)
    needs = [5_000 + images * height * width for images, (height, width) in memory.tried]
    assert all(need <= room for need in needs[2:])
    assert len(needs) <= 4, "few are enough"


def test_peaks_that_say_nothing_are_no_promise_of_endless_room() -> None:
    class Level(Pretended):
        def peak(self, call):
            call()
            return {1: 10_000, 2: 60_000, 3: 60_000}[len(self.tried)]

    memory = Level(100_000)
    assert largest_estimated([2, 4, 8], SIZES[1:], memory.trial, memory).images == 2
    memory = Pretended(100_000, per_pixel=0.0)
    assert largest_estimated(NUMBERS, SIZES, memory.trial, memory).images == 16


def test_one_number_is_tried_alone() -> None:
    memory = Pretended(10**9)
    assert largest_estimated([4], SIZES[-1:], memory.trial, memory).images == 4
    assert memory.tried == [(4, (128, 128))]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own numbers")
def test_the_host_is_measured_by_what_the_kernel_says() -> None:
    meter = HostMeter()
    idle = meter.peak(lambda: None)
    size = 200_000_000
    taken = meter.peak(lambda: torch.ones(size, dtype=torch.uint8))
    assert size * 0.9 < taken - idle < size * 1.5
    assert meter.peak(lambda: None) < taken - size / 2, "the peak before is forgotten"
    assert HostMeter(processes=4).room < meter.room


@pytest.mark.parametrize("lacking", ["free_memory", "text_of"])
def test_a_system_that_does_not_say_is_one_line(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"otadet.engine.memory.{lacking}", lambda *path: None if lacking == "free_memory" else "")
    with pytest.raises(UserError, match=r"batch_size auto: this system does not say .*; give batch_size a number"):
        HostMeter()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What a GPU of 1000 bytes was told, of which 800 are free and 100 this process's."""
    told: dict[str, float] = {"fraction": 1.0}

    def share(device: torch.device) -> float:
        assert device.index is not None  # as PyTorch wants it
        return told["fraction"]

    def set_share(fraction: float, device: torch.device) -> None:
        assert device.index is not None
        told["fraction"] = fraction

    fakes = {
        "current_device": lambda: 0,
        "mem_get_info": lambda device: (800, 1000),
        "memory_reserved": lambda device: 100,
        "get_per_process_memory_fraction": share,
        "set_per_process_memory_fraction": set_share,
        "reset_peak_memory_stats": lambda device: None,
        "max_memory_reserved": lambda device: 700,
        "synchronize": lambda device: None,
    }
    monkeypatch.setattr("otadet.engine.memory.let_go", lambda device: None)
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake, raising=False)
    return told


def test_a_gpu_gives_no_more_than_there_is_room_for(gpu: dict[str, float]) -> None:
    meter = CudaMeter(torch.device("cuda"))
    assert meter.room == 810
    during = []
    assert meter.peak(lambda: during.append(gpu["fraction"])) == 700
    assert (during, gpu["fraction"]) == ([0.81], 1.0)

    def out_of_memory() -> None:
        raise torch.cuda.OutOfMemoryError("whatever it says")

    assert meter.peak(out_of_memory) is None
    assert gpu["fraction"] == 1.0


def test_what_one_call_leaves_does_not_count_as_the_next_ones(gpu: dict[str, float], monkeypatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("otadet.engine.memory.let_go", lambda device: done.append("let go"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: done.append("forget the peak"))
    meter = CudaMeter(torch.device("cuda"))
    meter.peak(lambda: done.append("call"))
    meter.peak(lambda: done.append("call"))
    assert done == ["let go", "forget the peak", "call"] * 2


def test_another_error_of_a_gpu_is_not_taken_for_a_lack_of_memory(gpu: dict[str, float]) -> None:
    def broken() -> None:
        raise RuntimeError("CUDA out of memory, says something else")

    with pytest.raises(RuntimeError):
        CudaMeter(torch.device("cuda")).peak(broken)
    assert gpu["fraction"] == 1.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_gpu_runs_out_of_memory_and_goes_on() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    meter = CudaMeter(device)
    too_much = meter.room + 1

    def take(size: int) -> None:
        torch.empty(size, dtype=torch.uint8, device=device)

    assert meter.peak(lambda: take(too_much)) is None
    torch.cuda.empty_cache()
    assert meter.peak(lambda: take(meter.room // 2)) >= meter.room // 2
    torch.cuda.empty_cache()
    numbers = [1, 2, 4, 8]
    found = largest_tried(numbers, [(1, 1)], lambda images, size: take(images * meter.room // 5), meter)
    assert found.images == 4
    let_go(device)
    assert torch.cuda.memory_reserved(device) < meter.room // 10
