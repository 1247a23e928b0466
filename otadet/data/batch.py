"""Images of one size with all that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from otadet.data.sample import Sample
from otadet.integers import ceil_div
from otadet.structures import GroundTruth


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
        """The same batch with its tensors on `device`: three copies, or four, however many images there are."""
        if self.images.device == torch.device(device):
            return self
        truths = _JoinedTruths.of(self.truths)
        if self.images.is_pinned():
            truths = truths.each(Tensor.pin_memory)
        truths = truths.each(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        return replace(self, images=self.images.to(device, non_blocking=non_blocking), truths=truths.parted())

    def parts(self, number: int) -> list[Batch]:
        """The batch in that many parts of the same number of images, each of the same size. No image is copied."""
        size, rest = divmod(len(self), number)
        if rest or not size:
            raise ValueError(f"a batch of {len(self)} images has no {number} equal parts")
        return [
            Batch(*(getattr(self, each.name)[start : start + size] for each in fields(self)))
            for start in range(0, len(self), size)
        ]

    def pin_memory(self) -> Batch:
        """The same batch with its images in page-locked memory, from where copies to a GPU do not block."""
        return replace(self, images=self.images.pin_memory())


@dataclass(frozen=True)
class _JoinedTruths:
    """The ground truth of N images in a few tensors."""

    boxes: Tensor
    """(G, 4), of all images."""
    labels: Tensor
    """(G,)."""
    counts: list[int]
    """N numbers of boxes."""
    ignored: Tensor | None
    """(I, 4), of all images; None where none has any."""
    ignored_counts: list[int]
    """N numbers of ignored regions."""

    @classmethod
    def of(cls, truths: Sequence[GroundTruth]) -> _JoinedTruths:
        ignored = [truth.boxes[:0] if truth.ignored is None else truth.ignored for truth in truths]
        counts = [len(regions) for regions in ignored]
        return cls(
            boxes=torch.cat([truth.boxes for truth in truths]),
            labels=torch.cat([truth.labels for truth in truths]),
            counts=[len(truth.boxes) for truth in truths],
            ignored=torch.cat(ignored) if any(counts) else None,
            ignored_counts=counts,
        )

    def each(self, change: Callable[[Tensor], Tensor]) -> _JoinedTruths:
        ignored = None if self.ignored is None else change(self.ignored)
        return replace(self, boxes=change(self.boxes), labels=change(self.labels), ignored=ignored)

    def parted(self) -> list[GroundTruth]:
        boxes, labels = self.boxes.split(self.counts), self.labels.split(self.counts)
        if self.ignored is None:
            return [GroundTruth(*truth) for truth in zip(boxes, labels, strict=True)]
        ignored = self.ignored.split(self.ignored_counts)
        return [GroundTruth(*truth) for truth in zip(boxes, labels, ignored, strict=True)]


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
    ignored: np.ndarray
    """(I, 4) float32, regions of all images."""
    ignored_counts: list[int]
    """N numbers of ignored regions."""
    image_ids: list[int]
    file_names: list[str]
    original_sizes: list[tuple[int, int]]
    scales: list[tuple[float, float]]

    def unpack(self) -> Batch:
        """Tensors that share the memory of the arrays."""
        ignored = torch.from_numpy(self.ignored) if len(self.ignored) else None
        boxes, labels = torch.from_numpy(self.boxes), torch.from_numpy(self.labels)
        return Batch(
            images=torch.from_numpy(self.images),
            truths=_JoinedTruths(boxes, labels, self.counts, ignored, self.ignored_counts).parted(),
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
    for canvas, sample in zip(images, samples, strict=True):
        below, beside = height - sample.image.shape[0], width - sample.image.shape[1]
        # OpenCV takes the colours apart into three planes, three times as fast where these have no gaps.
        whole = cv2.copyMakeBorder(sample.image, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=pad_value)
        cv2.split(whole, list(canvas))
    return PackedBatch(
        images=images,
        boxes=np.concatenate([sample.boxes for sample in samples]),
        labels=np.concatenate([sample.labels for sample in samples]),
        counts=[len(sample.boxes) for sample in samples],
        ignored=np.concatenate([sample.ignored for sample in samples]),
        ignored_counts=[len(sample.ignored) for sample in samples],
        image_ids=[sample.image_id for sample in samples],
        file_names=[sample.file_name for sample in samples],
        original_sizes=[sample.original_size for sample in samples],
        scales=[sample.scale for sample in samples],
    )


def padded_size(size: Sequence[int], size_divisor: int) -> tuple[int, int]:
    """(height, width), both rounded up to a multiple of `size_divisor`."""
    height, width = size
    return ceil_div(height, size_divisor) * size_divisor, ceil_div(width, size_divisor) * size_divisor
