"""ONNX Runtime, an optional package: opening files and running them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from otadet.errors import UserError, reason_of
from otadet.names import printable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU = ("CPUExecutionProvider",)


def providers_for(device: torch.device | str | None) -> Sequence[str]:
    """Of ONNX Runtime, for a device; None: the CPU. Raises `UserError` for one that it has none for."""
    try:
        kind = "cpu" if device is None else torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device {device!r}: there is none of this name; choose cpu or cuda") from error
    if kind not in ("cpu", "cuda"):
        raise UserError(f"device {kind}: ONNX files run on cpu or cuda here")
    return ("CUDAExecutionProvider", *CPU) if kind == "cuda" else CPU


def require(module: str) -> ModuleType:
    """An optional module. Raises `UserError` naming the extra that brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"{module} is not installed, and ONNX files need it: pip install otadet[onnx]") from error


def open_session(model: str | Path | bytes, providers: Sequence[str] = CPU) -> InferenceSession:
    """A session for a file, or for a file's content.

    Raises `UserError` for a file that is missing or that ONNX Runtime refuses, and for an unknown provider.
    """
    onnxruntime = require("onnxruntime")
    available = onnxruntime.get_available_providers()
    if unknown := [provider for provider in providers if provider not in available]:
        raise UserError(f"{', '.join(unknown)}: this ONNX Runtime has no such provider, but {', '.join(available)}")
    if not isinstance(model, bytes):
        _check_file(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal alone: errors are raised as well
    # Left to itself it counts the machine's cores, not those that this process may use.
    options.intra_op_num_threads = torch.get_num_threads()
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=list(providers))
    except Exception as error:
        # Its exceptions have no base class but Exception in common.
        name = "the exported model" if isinstance(model, bytes) else str(model)
        raise UserError(f"{name}: ONNX Runtime cannot load it: {_brief(error)}") from error


def metadata_of(session: InferenceSession, path: str | Path) -> dict[str, str]:
    """The entries of a file's metadata. Raises `UserError` naming `path` where they are no texts."""
    try:
        return dict(session.get_modelmeta().custom_metadata_map)
    except Exception as error:
        raise UserError(f"{path}: its metadata is damaged: {_brief(error)}; export it anew") from error


def _check_file(path: str | Path) -> None:
    name = printable(str(path))
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise UserError(f"{name}: no such ONNX file; give a file written by otadet export") from error
    except OSError as error:
        raise UserError(f"{name}: cannot be opened ({reason_of(error)})") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no file"
        raise UserError(f"{name}: {kind}; give a file written by otadet export")
    if found.st_size == 0:
        raise UserError(f"{path}: an empty file; export it anew with otadet export")


def _brief(error: Exception) -> str:
    """What ONNX Runtime says, in one line that holds nothing of the file that could not be printed."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


def run_session(session: InferenceSession, images: np.ndarray) -> dict[str, Tensor]:
    """images (N, 3, H, W) float32, normalised -> every output by its name. Raises `UserError` for a wrong shape."""
    names = [output.name for output in session.get_outputs()]
    try:
        outputs = session.run(names, {"images": images})
    except Exception as error:
        expected = " x ".join(map(str, session.get_inputs()[0].shape))
        raise UserError(
            f"ONNX Runtime cannot run the model, made for {expected}, on {' x '.join(map(str, images.shape))}: "
            f"{_brief(error)}"
        ) from error
    return {name: torch.from_numpy(output) for name, output in zip(names, outputs, strict=True)}
