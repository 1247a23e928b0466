"""What the benchmark runs on, and which number formats that has."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torchvision

from otadet import __version__
from otadet.engine.precision import cpu_has_bf16

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
AMP_DTYPES = {"fp32": None, "tf32": None, "bf16": "bf16", "fp16": "fp16"}
"""Precision -> the experiment's `amp_dtype`; None trains without mixed precision."""


def device_name(device: torch.device) -> str:
    """The name of the GPU, or the processor's model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        models = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        models = []
    return models[0].strip() if models else platform.processor() or platform.machine() or "CPU"


def file_name_of(device: str) -> str:
    """A device's name as part of a file's name: "NVIDIA A100-SXM4" -> "nvidia-a100-sxm4"."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "device"


def environment(device: torch.device) -> dict[str, Any]:
    """All that the numbers depend on beside the code."""
    facts = {
        "device": device_name(device),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "otadet": __version__,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "memory": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda or torch.version.hip,
            "cudnn": torch.backends.cudnn.version(),
        }
    else:
        facts["instructions"] = torch.backends.cpu.get_cpu_capability()
    return facts


def lacking(precision: str, device: torch.device) -> str | None:
    """Why the device cannot train in that precision, or None where its hardware has it."""
    if device.type == "cuda":
        return _lacking_on_cuda(precision, device)
    if precision in ("tf32", "fp16"):
        return f"{precision} is for CUDA only"
    if precision == "bf16" and not cpu_has_bf16():
        return "this processor has no bf16 arithmetic, and would emulate it"
    return None


def _lacking_on_cuda(precision: str, device: torch.device) -> str | None:
    capability = torch.cuda.get_device_capability(device)
    if precision == "tf32" and (torch.version.hip is not None or capability < (8, 0)):
        return "this GPU has no TF32 (compute capability 8.0 and later has)"
    if precision == "bf16" and torch.version.hip is None and capability < (8, 0):
        return "this GPU has no bf16 arithmetic (compute capability 8.0 and later has)"
    if precision == "fp16" and torch.version.hip is None and capability < (5, 3):
        return "this GPU has no fp16 arithmetic (compute capability 5.3 and later has)"
    return None


@contextmanager
def fp32_arithmetic(precision: str) -> Iterator[None]:
    """Let CUDA compute what is fp32 in TF32 for "tf32", and in full fp32 for "fp32"; the rest keeps PyTorch's default.

    That default is TF32 for convolutions and fp32 for matrix products.
    """
    if precision not in ("fp32", "tf32"):
        yield
        return
    # The attributes of before PyTorch 2.9 set the new `fp32_precision` too; the other way round the old ones, which
    # torch.compile reads, are an error afterwards.
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before
