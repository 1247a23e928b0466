"""otadet: dense object detectors whose labels are assigned by Optimal Transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from otadet.export.onnx_predictor import OnnxPredictor
    from otadet.inference.predictor import Predictor
    from otadet.inference.views import MultiScaleTest

__version__ = "0.1.0"


def load(
    path: str | Path, device: torch.device | str | None = None, *, tta: bool | MultiScaleTest = False
) -> Predictor | OnnxPredictor:
    """The detector of a checkpoint or of an ONNX file; it is called with an image, or with a list of them.

    >>> detector = otadet.load("runs/quickstart/best.pth")
    >>> for found in detector(["a.jpg", "b.jpg"]):
    ...     print(found.boxes, found.scores, found.class_names)

    path: the file, or a published name such as "yolox-nano", which is fetched on first use into `OTADET_CACHE`, or
    else ~/.cache/otadet. device: None is the best of this machine; for an ONNX file the CPU. tta: True looks at each
    image in several sizes, and mirrored, as `--tta` does; `otadet.exp.MultiScaleTest(scales=(416, 640))` says which.
    Raises `UserError` for a file that is neither, for an ONNX file where `tta` is asked for, and for a checkpoint whose
    experiment has parts of its own: `otadet.exp.load_predictor` takes its file as well.
    """
    # PyTorch takes seconds to import, and who wants the version alone should not wait.
    from otadet.apps.load import load as load_file

    return load_file(path, device, tta=tta)
