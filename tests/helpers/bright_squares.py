"""A whole project that a test can run the tools on: a few images, an experiment, and a detector that is right.

Each image shows one bright square, red or blue, on black; the detector measures it instead of having learned it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from otadet.engine.checkpoint import save_checkpoint
from otadet.exp import load_exp

NAMES = ["röd 人", "blue"]
SQUARES = {"a.png": (0, (10, 6, 50, 40)), "b.png": (1, (20, 12, 60, 50)), "c.png": (0, (2, 2, 34, 44))}
"""File name -> label, xyxy."""

_EXPERIMENT = """
import torch
from torch import nn

from otadet.exp import BaseExp, CocoData, InputSpec, ResizeShortestEdge, Run
from otadet.structures import Anchors, Predictions


class Finder(nn.Module):
    strides, size_divisor = (1,), 32

    def __init__(self, num_classes):
        super().__init__()
        self.logit = nn.Parameter(torch.full((num_classes,), 4.0))

    def forward(self, images):
        bright = images.amax(1) > 0.5
        rows, columns = bright.any(2).float(), bright.any(1).float()
        first = [line.argmax(1) for line in (columns, rows)]
        last = [line.shape[1] - line.flip(1).argmax(1) for line in (columns, rows)]
        boxes = torch.stack((*first, *last), 1).float()[:, None]
        red, _, blue = (images * bright[:, None]).sum((2, 3)).unbind(1)
        found = bright.any(2).any(1)
        signs = torch.stack((red - blue, blue - red), 1).sign().where(found[:, None], torch.tensor(-1.0))
        grid = torch.zeros(1, 4)
        anchors = Anchors(grid[:, :2], grid, torch.ones(1), ((1, 1),))
        return Predictions(signs[:, None] * self.logit, boxes), anchors


class Exp(BaseExp):
    data = CocoData({folder!r}, val_json="val.json", val_images="images")
    input = InputSpec(ResizeShortestEdge((96,), 200), mean=(127.0, 127.0, 127.0), std=(50.0, 50.0, 50.0))
    run = Run(batch_size=2, workers=0)

    def build_model(self, num_classes):
        return Finder(num_classes)
"""


@dataclass(frozen=True)
class Project:
    folder: Path
    experiment: Path
    checkpoint: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"


def draw_square(label: int, box: tuple[int, int, int, int], size: tuple[int, int] = (56, 72)) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    image = np.zeros((*size, 3), np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = ((255, 60, 0), (0, 60, 255))[label]
    return image


def write_project(folder: Path) -> Project:
    """Images, one of them without any object, category ids that are sparse, and a checkpoint."""
    (folder / "images").mkdir(parents=True)
    shown = {**SQUARES, "empty.png": (0, (0, 0, 0, 0))}
    for name, (label, box) in shown.items():
        cv2.imwrite(str(folder / "images" / name), draw_square(label, box)[..., ::-1])
    content = {
        "images": [
            {"id": 11 * number, "file_name": name, "height": 56, "width": 72} for number, name in enumerate(shown)
        ],
        "annotations": [
            {"id": number, "image_id": 11 * number, "category_id": (3, 90)[label], "bbox": [x, y, right - x, low - y]}
            for number, (label, (x, y, right, low)) in enumerate(SQUARES.values())
        ],
        "categories": [{"id": 3, "name": NAMES[0]}, {"id": 90, "name": NAMES[1]}],
    }
    (folder / "val.json").write_text(json.dumps(content), encoding="utf-8")
    experiment, checkpoint = folder / "squares.py", folder / "best.pth"
    experiment.write_text(_EXPERIMENT.replace("{folder!r}", repr(str(folder))), encoding="utf-8")
    save_state(checkpoint, experiment, NAMES)
    return Project(folder, experiment, checkpoint)


def save_state(path: Path, experiment: Path, class_names: list[str]) -> None:
    """A checkpoint of the experiment's model, for these classes."""
    model = load_exp(experiment).build_model(len(class_names))
    save_checkpoint(path, {"model": model.state_dict(), "ema": None, "class_names": class_names})
