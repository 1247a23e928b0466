"""Images of one size with all that belongs to them, and the way back to the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from otadet.boxes import clip
from otadet.data.sample import Sample
from otadet.structures import Detections, GroundTruth


@dataclass(frozen=True)
class Batch:
    """N images of one size, padded at the right and the bottom, and all that is needed to go back to the files."""

    images: Tensor
    """(N, 3, H, W) uint8 RGB."""
    truths: list[GroundTruth]
    """N of them, boxes in pixels of `images`."""
    image_ids: list[int]
    file_names: list[str]
    original_sizes: list[tuple[int, int]]
    """(height, width) of each file, in pixels."""
    scales: list[tuple[float, float]]
    """(x, y) pixels of `images` per pixel of the file."""

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The same batch with its tensors on `device`: three copies, however many images there are."""
        if self.images.device == torch.device(device):
            return self
        boxes, labels = (torch.cat([getattr(truth, name) for truth in self.truths]) for name in ("boxes", "labels"))
        if self.images.is_pinned():
            boxes, labels = boxes.pin_memory(), labels.pin_memory()
        images, boxes, labels = (
            tensor.to(device, non_blocking=non_blocking) for tensor in (self.images, boxes, labels)
        )
        counts = [len(truth.boxes) for truth in self.truths]
        truths = [GroundTruth(*truth) for truth in zip(boxes.split(counts), labels.split(counts), strict=True)]
        return replace(self, images=images, truths=truths)

    def pin_memory(self) -> Batch:
        """The same batch with its images in page-locked memory, from where copies to a GPU do not block."""
        return replace(self, images=self.images.pin_memory())


@dataclass(frozen=True)
class PackedBatch:
    """A `Batch` as it comes from a loader process: arrays, and few of them. The fields are those of `Batch`."""

    images: np.ndarray
    """(N, 3, H, W) uint8 RGB."""
    boxes: np.ndarray
    """(G, 4) float32, of all images."""
    labels: np.ndarray
    """(G,) int64."""
    counts: list[int]
    """N numbers of boxes."""
    image_ids: list[int]
    file_names: list[str]
    original_sizes: list[tuple[int, int]]
    scales: list[tuple[float, float]]

    def unpack(self) -> Batch:
        """Tensors that share the memory of the arrays."""
        boxes = torch.from_numpy(self.boxes).split(self.counts)
        labels = torch.from_numpy(self.labels).split(self.counts)
        return Batch(
            images=torch.from_numpy(self.images),
            truths=[GroundTruth(*truth) for truth in zip(boxes, labels, strict=True)],
            image_ids=self.image_ids,
            file_names=self.file_names,
            original_sizes=self.original_sizes,
            scales=self.scales,
        )


def collate(samples: Sequence[Sample], pad_value: tuple[int, int, int], size_divisor: int) -> Batch:
    """Pads samples to their common size, rounded up to a multiple of `size_divisor`, with the RGB `pad_value`."""
    return pack(samples, pad_value, size_divisor).unpack()


def pack(samples: Sequence[Sample], pad_value: tuple[int, int, int], size_divisor: int) -> PackedBatch:
    """What `collate` does, as arrays."""
    padded = [padded_size(sample.image.shape[:2], size_divisor) for sample in samples]
    height, width = (max(size[axis] for size in padded) for axis in (0, 1))
    images = np.empty((len(samples), 3, height, width), np.uint8)
    images[:] = np.array(pad_value, np.uint8)[:, None, None]
    for canvas, sample in zip(images, samples, strict=True):
        canvas[:, : sample.image.shape[0], : sample.image.shape[1]] = sample.image.transpose(2, 0, 1)
    return PackedBatch(
        images=images,
        boxes=np.concatenate([sample.boxes for sample in samples]),
        labels=np.concatenate([sample.labels for sample in samples]),
        counts=[len(sample.boxes) for sample in samples],
        image_ids=[sample.image_id for sample in samples],
        file_names=[sample.file_name for sample in samples],
        original_sizes=[sample.original_size for sample in samples],
        scales=[sample.scale for sample in samples],
    )


def padded_size(size: Sequence[int], size_divisor: int) -> tuple[int, int]:
    """(height, width), both rounded up to a multiple of `size_divisor`."""
    height, width = size
    return -(-height // size_divisor) * size_divisor, -(-width // size_divisor) * size_divisor


def to_original(detections: Detections, scale: tuple[float, float], original_size: tuple[int, int]) -> Detections:
    """Boxes in pixels of a resized or padded image -> in pixels of its file, clipped to it.

    scale: (x, y) of `Sample` or `Batch`. original_size: (height, width) of the file.
    """
    boxes = detections.boxes / detections.boxes.new_tensor((*scale, *scale))
    return replace(detections, boxes=clip(boxes, *original_size))
