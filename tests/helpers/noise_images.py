"""Images of noise, as a data set and as a stream of batches."""

from dataclasses import dataclass

import numpy as np
import torch

from otadet.data.batch import Batch
from otadet.data.loader import train_loader
from otadet.data.sample import Sample
from otadet.data.transforms import Compose, RandomFlip, RandomZoom, ResizeShortestEdge
from otadet.errors import UserError

GREY = (100, 110, 120)
AUGMENT = Compose((RandomFlip(0.5, 0.5), RandomZoom(0.7, 1.4, GREY), ResizeShortestEdge((24, 32, 40), 60)))


@dataclass(frozen=True)
class Noise:
    """A data set of noise images, of which some cannot be read."""

    size: int
    broken: int | None = None
    all_broken: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.size

    @property
    def sizes(self) -> np.ndarray:
        return np.array([(20 + index, 30) for index in range(self.size)])

    def sample(self, index: int) -> Sample:
        if index == self.broken or index in self.all_broken:
            raise UserError(f"{index}.png: broken")
        image = np.random.default_rng(index).integers(0, 256, (20 + index, 30, 3), dtype=np.uint8)
        boxes = np.array([[1, 2, 10, 12], [5, 5, 25, 15]], np.float32)[: index % 3]
        return Sample(image, boxes, np.arange(len(boxes)), 100 + index, f"{index}.png", image.shape[:2])


def stream(dataset=None, transform=AUGMENT, **options) -> list[Batch]:
    defaults = {"batch_size": 4, "iterations": 7, "seed": 5, "pad_value": GREY, "size_divisor": 32}
    return list(train_loader(dataset or Noise(5), transform, **{**defaults, **options}))


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.images, b.images)
        assert (a.image_ids, a.file_names, a.scales) == (b.image_ids, b.file_names, b.scales)
        for truth, other in zip(a.truths, b.truths, strict=True):
            assert torch.equal(truth.boxes, other.boxes)
            assert torch.equal(truth.labels, other.labels)
            assert (truth.ignored is None) == (other.ignored is None)
            assert truth.ignored is None or torch.equal(truth.ignored, other.ignored)
