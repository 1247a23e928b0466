"""The number format and the memory layout that a network trains in, by what the hardware can do."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch

from otadet.distributed import broadcast_object, gather_objects
from otadet.errors import UserError

_NAMES = {None: "fp32", torch.float16: "mixed fp32 and fp16", torch.bfloat16: "mixed fp32 and bf16"}
_FROM_WEAK_TO_STRONG = (None, torch.float16, torch.bfloat16)
_X86 = ("x86_64", "amd64", "i386", "i686", "x86")
_WITHOUT_BF16 = ("AVX512_CORE", "AVX512_CORE_VNNI")
"""Values of ONEDNN_MAX_CPU_ISA that forbid oneDNN the bf16 instructions, but not bf16."""


@dataclass(frozen=True)
class Precision:
    """What a training computes in."""

    amp_dtype: torch.dtype | None = None
    """Of the network under autocast; None: everything is fp32."""
    channels_last: bool = False
    """Whether images and weights are laid out as (N, H, W, C)."""
    reason: str = "amp is off"
    """Why this dtype, for the log."""
    warning: str | None = None
    """What is unwise about the settings, and what to do about it."""

    def __str__(self) -> str:
        return f"{precision_name(self.amp_dtype)} ({self.reason}){', channels last' if self.channels_last else ''}"


def choose_precision(device: torch.device, *, amp: bool, name: str | None = None) -> Precision:
    """What to train in on `device`.

    amp: mixed precision where the hardware gains by it, else fp32. name: with `amp`, "fp16" or "bf16" in any case.
    Raises `UserError` for a dtype that the device cannot train with.
    """
    fast, reason = _fast_dtype(device)
    if not amp:
        ignored = f"amp_dtype {name} has no effect while amp is off; set amp true as well, or omit both"
        choice = Precision(warning=ignored if name else None)
    elif name is None:
        choice = Precision(fast, reason=reason)
    else:
        choice = _by_name(device, name, fast, reason)
    return replace(choice, channels_last=_channels_last_is_fast(device, choice.amp_dtype))


def agree_on_precision(own: Precision) -> Precision:
    """What all processes of a training compute in: the weakest choice among them, as they share their gradients."""
    choices = gather_objects(own)
    weakest = min(choices, key=lambda choice: _FROM_WEAK_TO_STRONG.index(choice.amp_dtype), default=own)
    agreed: Precision = broadcast_object(weakest)
    return agreed


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager:
    """Mixed precision with `dtype`; plain fp32 for None."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def precision_name(dtype: torch.dtype | None) -> str:
    """For a log line."""
    return _NAMES[dtype]


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 by itself: AVX512-BF16, AMX, or an ARM with bf16.

    oneDNN says "supported" also for any AVX-512, where bf16 takes 2.5 times as long as fp32; on AVX2 it says no, and
    bf16 would take 4 to 40 times as long.
    """
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    if not torch.backends.mkldnn.is_available() or supported is None or not supported():
        return False
    if platform.machine().lower() not in _X86:
        return True
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    # Private names of torch 2.6 to 2.14 at least; without them fp32 is the safe answer.
    instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    found = any(getattr(torch.cpu, name, bool)() for name in instructions)
    return found and limit not in _WITHOUT_BF16


def _fast_dtype(device: torch.device) -> tuple[torch.dtype | None, str]:
    """The dtype of mixed precision that is faster than fp32, or None; and why."""
    if device.type == "cpu":
        if cpu_has_bf16():
            return torch.bfloat16, "this processor has bf16 arithmetic"
        return None, "this processor has no bf16 arithmetic, and emulating it is several times slower"
    if device.type != "cuda":
        return None, f"mixed precision is not known to be faster on {device.type}"
    if _gpu_has_bf16(device):
        return torch.bfloat16, "this GPU has bf16 arithmetic"
    if torch.cuda.get_device_capability(device) >= (7, 0):
        return torch.float16, "this GPU has fp16 arithmetic, and none in bf16"
    return None, "this GPU is older than fast fp16 arithmetic"


def _by_name(device: torch.device, name: str, fast: torch.dtype | None, reason: str) -> Precision:
    if name == "fp16" and device.type != "cuda":
        raise UserError(f"amp_dtype fp16: trains on cuda only; on {device.type} use bf16, or leave amp_dtype unset")
    if name == "bf16" and device.type == "cuda" and not _gpu_has_bf16(device):
        raise UserError("amp_dtype bf16: this GPU has no bf16 arithmetic; use fp16, or leave amp_dtype unset")
    warning = f"amp_dtype {name}: {reason}; leave amp_dtype unset to train in fp32" if fast is None else None
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[name]
    return Precision(dtype, reason=f"amp_dtype {name}", warning=warning)


def _gpu_has_bf16(device: torch.device) -> bool:
    # AMD's numbers mean something else; what torch runs on has bf16.
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def _channels_last_is_fast(device: torch.device, dtype: torch.dtype | None) -> bool:
    """oneDNN (5 to 10 per cent, in fp32 and bf16, with AVX2 and AVX-512) and tensor cores prefer it."""
    if device.type == "cuda":
        return dtype is not None
    return device.type == "cpu" and torch.backends.mkldnn.is_available()
