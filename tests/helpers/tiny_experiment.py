"""An experiment on a tiny synthetic data set, and an untrained checkpoint of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from otadet.data.synthetic.write import write_synthetic
from otadet.engine.checkpoint import save_checkpoint
from otadet.exp import load_exp

_EXPERIMENT = """
from otadet.exp import FCOS, BaseExp, CocoData, InputSpec, ResizeShortestEdge, ResNet, Run


class Exp(BaseExp):
    data = CocoData(
        {folder!r},
        *("annotations/instances_train.json", "train"),
        *("annotations/instances_val.json", "val"),
    )
    input = InputSpec(ResizeShortestEdge((64,), 64))
    model = FCOS(ResNet(10, weights=None), channels=16, tower_depth=1)
    run = Run(batch_size=2, workers=0)
"""


@dataclass(frozen=True)
class TinyExperiment:
    data: Path
    file: Path
    checkpoint: Path


def write_tiny_experiment(folder: Path) -> TinyExperiment:
    """Four training images 000001.png ... and two for validation, 64 pixels, two classes."""
    data = folder / "data"
    write_synthetic(data, images_train=4, images_val=2, size=64, classes=2)
    file, checkpoint = folder / "tiny.py", folder / "tiny.pth"
    file.write_text(_EXPERIMENT.replace("{folder!r}", repr(str(data))), encoding="utf-8")
    exp = load_exp(file)
    torch.manual_seed(0)
    names = list(exp.build_val_dataset().class_names)
    save_checkpoint(checkpoint, {"model": exp.build_model(2).state_dict(), "ema": None, "class_names": names})
    return TinyExperiment(data, file, checkpoint)
