import platform

import pytest
import torch

from otadet.engine import precision
from otadet.engine.precision import Precision, agree_on_precision, choose_precision, cpu_has_bf16
from otadet.errors import UserError

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.fixture
def cpu(monkeypatch):
    """Makes this a machine with the given processor."""

    def become(*, machine: str = "x86_64", onednn: bool = True, instructions: bool = True, limit: str = "") -> None:
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)

    return become


@pytest.fixture
def gpu(monkeypatch):
    """Makes this a machine whose GPU has the given compute capability."""

    def become(major: int, minor: int = 0) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))
        monkeypatch.setattr(torch.version, "hip", None)

    return become


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ({}, True),
        ({"machine": "AMD64"}, True),
        ({"machine": "aarch64", "instructions": False}, True),
        ({"machine": "aarch64", "onednn": False}, False),
        ({"onednn": False}, False),
        # AVX-512 without bf16, as Skylake: oneDNN calls it supported and emulates it.
        ({"instructions": False}, False),
        ({"limit": "avx512_core"}, False),
        ({"limit": "AVX512_CORE_BF16"}, True),
    ],
)
def test_bf16_is_what_the_processor_has_instructions_for(cpu, processor, expected):
    cpu(**processor)
    assert cpu_has_bf16() is expected
    choice = choose_precision(CPU, amp=True)
    assert choice.amp_dtype is (torch.bfloat16 if expected else None)
    assert ("has no bf16 arithmetic" in str(choice)) is not expected


def test_a_torch_that_cannot_say_computes_in_fp32(cpu, monkeypatch):
    cpu()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose_precision(CPU, amp=True) == Precision(reason=choose_precision(CPU, amp=True).reason)
    monkeypatch.undo()
    cpu()
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert not cpu_has_bf16()


def test_bf16_by_name_is_obeyed_with_a_warning_where_it_is_emulated(cpu):
    cpu(onednn=False)
    choice = choose_precision(CPU, amp=True, name="bf16")
    assert choice.amp_dtype is torch.bfloat16
    assert "several times slower; leave amp_dtype unset to train in fp32" in choice.warning
    cpu()
    assert choose_precision(CPU, amp=True, name="bf16").warning is None


def test_a_dtype_without_amp_has_no_effect_and_says_so():
    choice = choose_precision(CPU, amp=False, name="bf16")
    assert choice.amp_dtype is None
    assert "amp_dtype bf16 has no effect while amp is off" in choice.warning
    assert choose_precision(CPU, amp=False).warning is None


@pytest.mark.parametrize("device", [CPU, MPS])
def test_fp16_needs_cuda(device):
    with pytest.raises(UserError, match="use bf16"):
        choose_precision(device, amp=True, name="fp16")


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 1), None),
        ((7, 0), torch.float16),
        ((7, 5), torch.float16),
        ((8, 0), torch.bfloat16),
        ((9, 0), torch.bfloat16),
    ],
)
def test_a_gpu_computes_in_what_it_is_fast_at(gpu, capability, expected):
    gpu(*capability)
    choice = choose_precision(CUDA, amp=True)
    assert choice.amp_dtype is expected
    assert choice.channels_last is (expected is not None)
    assert choose_precision(CUDA, amp=True, name="fp16").amp_dtype is torch.float16
    assert not choose_precision(CUDA, amp=False).channels_last


def test_a_gpu_without_bf16_is_no_place_for_it(gpu):
    gpu(7, 5)
    with pytest.raises(UserError, match="use fp16"):
        choose_precision(CUDA, amp=True, name="bf16")


def test_mps_trains_in_fp32_unless_told_otherwise():
    assert choose_precision(MPS, amp=True) == Precision(
        reason="mixed precision is not known to be faster on mps", warning=None
    )
    assert choose_precision(MPS, amp=True, name="bf16").amp_dtype is torch.bfloat16


def test_the_weakest_process_decides(monkeypatch):
    strong, weak = Precision(torch.bfloat16, reason="a"), Precision(torch.float16, reason="b")
    told = []
    monkeypatch.setattr(precision, "gather_objects", lambda own: [strong, own, strong])
    monkeypatch.setattr(precision, "broadcast_object", lambda value: told.append(value) or value)
    assert agree_on_precision(weak) == weak
    assert agree_on_precision(Precision()) == Precision()
    assert told == [weak, Precision()]
