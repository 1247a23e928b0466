"""An evaluation whose numbers differ by any change of what the network sees, alone and in several processes.

A module of its own, which the processes can import.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from otadet.apps.validation import Validation
from otadet.distributed import is_main
from otadet.exp import BaseExp, CocoData, InputSpec, ResizeShortestEdge, Run
from otadet.structures import Anchors, Predictions


class SumOfTheRest(nn.Module):
    """A convolution of which every channel sees the whole picture through GroupNorm."""

    strides, size_divisor = (8,), 32

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 32, 3, 2), nn.GroupNorm(4, 32), nn.ReLU(), nn.Conv2d(32, 6, 3, 4))

    def forward(self, images):
        maps = self.layers(images)
        values = maps.flatten(2).transpose(1, 2)
        level = tuple(maps.shape[2:])
        boxes = torch.cat((values[..., :2] * 9, values[..., :2] * 9 + values[..., 2:4].exp() * 20), dim=2)
        anchors = Anchors(torch.zeros(len(values[0]), 2), torch.zeros(1, 4), torch.ones(1), (level,))
        return Predictions(values[..., 4:], boxes), anchors


def write_portraits_and_landscapes(folder: Path) -> None:
    """Sixteen images of noise, of four sizes, and truth.json, with three boxes for each."""
    sizes = [(90, 60), (60, 90), (70, 60), (60, 60)] * 4
    rng = np.random.default_rng(0)
    images = []
    for number, (height, width) in enumerate(sizes):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
    boxes = [
        {"id": 3 * number + k, "image_id": number, "category_id": k % 2, "bbox": [2, 5, 20 + 9 * k, 30], "iscrowd": 0}
        for number in range(len(sizes))
        for k in range(3)
    ]
    content = {"images": images, "annotations": boxes, "categories": [{"id": k, "name": "ab"[k]} for k in (0, 1)]}
    (folder / "truth.json").write_text(json.dumps(content))


class Exp(BaseExp):
    data = CocoData(val_json="truth.json", val_images=".")
    input = InputSpec(ResizeShortestEdge((64,), 128), mean=(110.0, 110.0, 110.0), std=(60.0, 60.0, 60.0))
    run = Run(batch_size=6, workers=0)

    def build_model(self, num_classes: int) -> nn.Module:
        return SumOfTheRest()


def evaluate(device: torch.device, folder: Path, output: Path) -> None:
    """Writes the numbers of an evaluation as the training makes it; each process has its share of the images."""
    exp = Exp()
    exp.override(["data", str(folder)])
    model = exp.build_model(2)
    validation = Validation(exp, exp.build_val_dataset())
    scores = validation(model.to(device))
    assert bool(scores) == is_main()
    if is_main():
        output.write_text(json.dumps(validation.result.stats), encoding="utf-8")
