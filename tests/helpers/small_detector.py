"""A detector of one level and a few hundred weights, and batches with boxes for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from otadet.boxes import distances_to_boxes
from otadet.data.batch import Batch
from otadet.models import AnchorGrid
from otadet.structures import Anchors, GroundTruth, Predictions
from tests.helpers.problems import make_truth

CLASSES = 3
SIZE = 64


class SmallDetector(nn.Module):
    """dropout: probability; norm: a batch norm, which sees one batch at a time."""

    def __init__(self, *, dropout: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3, 8), nn.BatchNorm2d(8) if norm else nn.GroupNorm(2, 8), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Dropout(dropout))
        self.out = nn.Conv2d(8, CLASSES + 5, 1)
        self.grid = AnchorGrid((8,))

    def forward(self, images: Tensor) -> tuple[Predictions, Anchors]:
        feature = self.out(self.body(images))
        anchors = self.grid([feature])
        flat = feature.flatten(2).transpose(1, 2)
        logits, sides, quality = flat.split((CLASSES, 4, 1), -1)
        boxes = distances_to_boxes(anchors.points, 16 * sides.float().exp())
        return Predictions(logits - 2, boxes, quality.squeeze(-1)), anchors


def crowded_batch(boxes: list[int], seed: int = 0) -> Batch:
    """One image with each of these numbers of boxes."""
    generator = torch.Generator().manual_seed(seed)
    number = len(boxes)
    return Batch(
        images=torch.randint(0, 256, (number, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator),
        truths=[make_truth(generator, count, CLASSES, SIZE, SIZE) for count in boxes],
        image_ids=list(range(number)),
        file_names=[f"image {row}.png" for row in range(number)],
        original_sizes=[(SIZE, SIZE)] * number,
        scales=[(1.0, 1.0)] * number,
    )


def empty() -> GroundTruth:
    return GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
