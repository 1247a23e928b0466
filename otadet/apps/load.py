"""What `otadet.load` does: a detector from a file alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from otadet.apps.published import checkpoint_path
from otadet.engine.checkpoint import load_checkpoint
from otadet.engine.devices import choose_device
from otadet.errors import UserError
from otadet.exp import load_predictor
from otadet.exp.stored import stored_exp
from otadet.export.onnx_predictor import OnnxPredictor
from otadet.export.session import CPU
from otadet.inference.predictor import Predictor


def load(path: str | Path, device: torch.device | str | None = None) -> Predictor | OnnxPredictor:
    """What `otadet.load` returns, and raises."""
    if Path(path).suffix.lower() == ".onnx":
        return OnnxPredictor(path, _providers(device))
    path = checkpoint_path(path)
    state = load_checkpoint(path)
    exp = stored_exp(path, state, ("input", "model", "postprocess"))
    return load_predictor(exp, path, choose_device() if device is None else device, state=state)


def _providers(device: torch.device | str | None) -> Sequence[str]:
    """Of ONNX Runtime, for a device."""
    kind = "cpu" if device is None else torch.device(device).type
    if kind not in ("cpu", "cuda"):
        raise UserError(f"device {kind}: ONNX files run on cpu or cuda here")
    return ("CUDAExecutionProvider", *CPU) if kind == "cuda" else CPU
