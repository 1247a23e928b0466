"""What `otadet.load` does: a detector from a file alone."""

from __future__ import annotations

from pathlib import Path

import torch

from otadet.apps.onnx_file import is_onnx
from otadet.apps.published import checkpoint_path
from otadet.engine.checkpoint import load_checkpoint
from otadet.engine.devices import device_of
from otadet.errors import UserError
from otadet.exp import load_predictor
from otadet.exp.stored import stored_exp
from otadet.export.onnx_predictor import OnnxPredictor
from otadet.export.session import providers_for
from otadet.inference.predictor import Predictor
from otadet.inference.views import MultiScaleTest


def load(
    path: str | Path, device: torch.device | str | None = None, *, tta: bool | MultiScaleTest = False
) -> Predictor | OnnxPredictor:
    """What `otadet.load` returns, and raises."""
    if not str(path):
        raise UserError("the path of the checkpoint is empty; give a file or a published name")
    if not isinstance(tta, bool | MultiScaleTest):
        raise UserError(f"tta {tta!r}: must be True, False or a MultiScaleTest")
    if is_onnx(path):
        if tta is not False:
            raise UserError(f"tta: {path} is made for its own size of images; give the checkpoint")
        return OnnxPredictor(path, providers_for(device))
    path = checkpoint_path(path)
    state = load_checkpoint(path)
    exp = stored_exp(path, state, ("input", "model", "postprocess", *(["tta"] if tta is True else [])))
    if not isinstance(tta, bool):
        exp.tta = tta
    return load_predictor(exp, path, device_of(device), state=state, tta=tta is not False)
