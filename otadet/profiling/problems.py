"""Random assignment problems of a given size."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otadet.boxes import centers
from otadet.errors import UserError
from otadet.integers import ceil_div
from otadet.models.anchors import AnchorGrid
from otadet.models.backbones.resnet import ResNet
from otadet.models.necks.fpn import pyramid_strides
from otadet.structures import Anchors, GroundTruth, Predictions

STRIDES = pyramid_strides(ResNet.strides)
"""Of the levels of the paper's network."""
_MOST_NUMBERS = 2**31
"""Of logits, or of distances between anchors and boxes: 8 GiB in float32."""


@dataclass(frozen=True)
class Scene:
    """The size of a problem."""

    boxes: int
    """Of each image."""
    images: int
    classes: int = 80
    height: int = 800
    """Of the input, in pixels."""
    width: int = 1216
    """Of the input, in pixels."""

    def __str__(self) -> str:
        return f"{self.boxes} boxes x {self.images}, {self.classes} classes, {self.height}x{self.width}"


@dataclass(frozen=True)
class Problem:
    """What an assigner is called with."""

    predictions: Predictions
    anchors: Anchors
    truths: list[GroundTruth]

    def to(self, device: torch.device | str) -> Problem:
        """The same problem on another device."""
        predictions, anchors = self.predictions, self.anchors
        quality = None if predictions.quality is None else predictions.quality.to(device)
        return Problem(
            Predictions(predictions.logits.to(device), predictions.boxes.to(device), quality),
            replace(
                anchors,
                points=anchors.points.to(device),
                boxes=anchors.boxes.to(device),
                strides=anchors.strides.to(device),
            ),
            [truth.to(device) for truth in self.truths],
        )

    def first_image(self) -> Problem:
        """The same problem with its first image alone."""
        predictions = self.predictions
        quality = None if predictions.quality is None else predictions.quality[:1]
        one = Predictions(predictions.logits[:1], predictions.boxes[:1], quality)
        return Problem(one, self.anchors, self.truths[:1])


def parse_scene(text: str) -> Scene:
    """`BOXESxIMAGES`, then optionally `:CLASSES` and `:HEIGHTxWIDTH`. Raises `UserError` for anything else."""
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})(?::(\d{1,9})(?::(\d{1,9})x(\d{1,9}))?)?", text)
    if match is None or any(number is not None and not int(number) for number in match.groups()):
        raise UserError(f"scene {text}: give BOXESxIMAGES, BOXESxIMAGES:CLASSES or BOXESxIMAGES:CLASSES:HEIGHTxWIDTH")
    scene = Scene(*(int(number) for number in match.groups() if number is not None))
    anchors = sum(rows * columns for rows, columns in level_sizes(scene))
    if (numbers := anchors * scene.images * max(scene.classes, scene.boxes)) > _MOST_NUMBERS:
        raise UserError(
            f"scene {text}: {anchors:,} anchors per image make {numbers:,} numbers; at most {_MOST_NUMBERS:,} are drawn"
        )
    return scene


def level_sizes(scene: Scene) -> list[tuple[int, int]]:
    """Height and width of each level, in cells."""
    return [(ceil_div(scene.height, stride), ceil_div(scene.width, stride)) for stride in STRIDES]


def draw_problem(scene: Scene, seed: int = 0) -> Problem:
    """Boxes of 16 to 400 pixels, and the predictions of a trained network: each anchor follows the nearest object."""
    generator = torch.Generator().manual_seed(seed)
    anchors = AnchorGrid(STRIDES)([torch.empty(1, 1, *size) for size in level_sizes(scene)])
    truths = [draw_truth(scene, generator) for _ in range(scene.images)]
    num_anchors = len(anchors.points)
    logits = torch.randn(scene.images, num_anchors, scene.classes, generator=generator).mul_(2).sub_(5)
    boxes = 6 * torch.randn(scene.images, num_anchors, 4, generator=generator)
    for image, truth in enumerate(truths):
        nearest = torch.cdist(anchors.points, centers(truth.boxes)).argmin(1)
        boxes[image] += truth.boxes[nearest]
        gain = 8 * torch.rand(num_anchors, generator=generator)
        logits[image, torch.arange(num_anchors), truth.labels[nearest]] += gain
    quality = torch.randn(scene.images, num_anchors, generator=generator)
    return Problem(Predictions(logits, _ordered(boxes), quality), anchors, truths)


def draw_truth(scene: Scene, generator: torch.Generator) -> GroundTruth:
    """The objects of one image of the scene."""
    limit = torch.tensor([scene.width, scene.height], dtype=torch.float32)
    size = 16 * 25 ** torch.rand(scene.boxes, 2, generator=generator)
    # Log-uniform, and wholly inside the image.
    size = size.minimum(limit / 2)
    corner = torch.rand(scene.boxes, 2, generator=generator) * (limit - size)
    labels = torch.randint(scene.classes, (scene.boxes,), generator=generator)
    return GroundTruth(torch.cat((corner, corner + size), 1), labels)


def _ordered(boxes: Tensor) -> Tensor:
    return torch.cat((torch.minimum(boxes[..., :2], boxes[..., 2:]), torch.maximum(boxes[..., :2], boxes[..., 2:])), -1)
