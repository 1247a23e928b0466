"""The batch of a training that needs the most memory: the largest input, and the images with the most boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from otadet.data.batch import Batch, padded_size
from otadet.data.dataset import DetectionDataset
from otadet.data.transforms.compose import others_of
from otadet.data.transforms.largest import Size, largest_sizes
from otadet.errors import UserError
from otadet.exp import BaseExp
from otadet.integers import ceil_div
from otadet.structures import GroundTruth


@dataclass(frozen=True)
class Hardest:
    """What a batch of a training needs the most memory for."""

    size: Size
    """(height, width) of the largest input."""
    truths: list[GroundTruth]
    """Of the most crowded images, the most crowded first, their boxes in pixels of that input."""

    def sizes(self, size_divisor: int) -> list[Size]:
        """Smaller inputs of about its shape, and at last it: a sixteenth of its pixels, a quarter, all."""
        smaller = [padded_size([ceil_div(side, part) for side in self.size], size_divisor) for part in (4, 2)]
        return [*dict.fromkeys(size for size in smaller if size[0] * size[1] < self.size[0] * self.size[1]), self.size]

    def batch(self, images: int, size: Size, device: torch.device) -> Batch:
        """Of the most crowded images, at that size. Their pixels are noise: of black ones batch norms make gradients
        beyond all numbers."""
        noise = torch.Generator(device).manual_seed(0)
        factor = torch.tensor((size[1] / self.size[1], size[0] / self.size[0]) * 2)
        truths = [self.truths[row % len(self.truths)] for row in range(images)]
        return Batch(
            images=torch.randint(256, (images, 3, *size), dtype=torch.uint8, device=device, generator=noise),
            truths=[GroundTruth(truth.boxes * factor, truth.labels).to(device) for truth in truths],
            image_ids=list(range(images)),
            file_names=["(noise, to measure the memory)"] * images,
            original_sizes=[size] * images,
            scales=[(1.0, 1.0)] * images,
        )


def hardest_batch(exp: BaseExp, train_set: DetectionDataset, images: int, size_divisor: int) -> Hardest:
    """The largest input that the experiment's training can have, and as many images with the most boxes.

    Raises `UserError` where the size of no image is known.
    """
    transform = exp.build_train_transform()
    sizes = np.unique(train_set.sizes[(train_set.sizes > 0).all(axis=1)], axis=0)
    if not len(sizes):
        raise UserError("batch_size auto: the sizes of the images are not known; set data.prescan true")
    groups = [sizes]
    if exp.run.group_by_aspect:
        is_tall = sizes[:, 0] > sizes[:, 1]
        groups = [group for group in (sizes[is_tall], sizes[~is_tall]) if len(group)]
    shapes = []
    for group in groups:
        results = largest_sizes(transform, {(int(height), int(width)) for height, width in group})
        # Images of one batch are padded to the highest and the widest of them.
        shapes.append(padded_size([max(result[axis] for result in results) for axis in (0, 1)], size_divisor))
    size = max(shapes, key=lambda shape: (shape[0] * shape[1], shape))
    joined = 1 + others_of(transform)
    order = np.argsort(-train_set.boxes_per_image(), kind="stable")
    rows = order[: max(images, joined)].tolist()
    scaled = {row: _scaled_objects(train_set, row, size) for row in rows}
    truths = [_together([scaled[rows[(row + other) % len(rows)]] for other in range(joined)]) for row in range(images)]
    return Hardest(size, truths[: max(1, images)])


def _scaled_objects(train_set: DetectionDataset, row: int, size: Size) -> GroundTruth:
    boxes, labels = train_set.objects_of(row)
    height, width = train_set.sizes[row].tolist()
    factor = np.array((size[1] / max(width, 1), size[0] / max(height, 1)) * 2, np.float32)
    return GroundTruth(torch.from_numpy(boxes * factor), torch.from_numpy(labels))


def _together(truths: Sequence[GroundTruth]) -> GroundTruth:
    """What a mosaic has of several images."""
    return GroundTruth(torch.cat([truth.boxes for truth in truths]), torch.cat([truth.labels for truth in truths]))
