"""Images of one size with all that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otadet.data.batch_memory import BatchMemory
from otadet.data.pixels import fill_padding
from otadet.data.sample import Sample
from otadet.data.view import View
from otadet.integers import ceil_div
from otadet.structures import GroundTruth


@dataclass(frozen=True)
class Batch:
    """N images of one size, padded at the right and the bottom, and all that is needed to go back to the files."""

    images: Tensor
    """(N, 3, H, W) uint8 RGB, in memory as (N, H, W, 3): taken apart into colours where they are normalised."""
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
    """(N, H, W, 3) uint8 RGB."""
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
            images=torch.from_numpy(self.images.transpose(0, 3, 1, 2)),
            truths=_JoinedTruths(boxes, labels, self.counts, ignored, self.ignored_counts).parted(),
            image_ids=self.image_ids,
            file_names=self.file_names,
            original_sizes=self.original_sizes,
            scales=self.scales,
        )


def collate(samples: Sequence[Sample], pad_value: tuple[int, int, int], size_divisor: int) -> Batch:
    """Pads samples to their common size, rounded up to a multiple of `size_divisor`, with the RGB `pad_value`."""
    size = common_size([padded_size(sample.image.shape[:2], size_divisor) for sample in samples])
    packer = Packer(len(samples), size, pad_value, size_divisor, BatchMemory())
    for sample in samples:
        packer.add(View.of(sample))
    return packer.packed().unpack()


class Packer:
    """Packs samples as they come, so that the pixels of one need not be kept until the others are there.

    Args:
        count: samples at the most.
        size: (height, width) that the batch is going to have; where that turns out to be wrong, it costs time.
        pad_value, size_divisor: as in `collate`.
        memory: where the images are put.
    """

    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        pad_value: tuple[int, int, int],
        size_divisor: int,
        memory: BatchMemory,
    ) -> None:
        self._images = memory.take(count, *size, 3)
        self._size = (0, 0)
        self._rows: list[tuple[Any, ...]] = []
        self._pad_value, self._size_divisor, self._memory = pad_value, size_divisor, memory

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, view: View) -> None:
        """Draws its picture, and keeps nothing of its image. Raises what reading that does, as if it had not been."""
        picture, sample = view.picture, view.sample
        height, width = picture.padded
        size = common_size([self._size, padded_size(picture.padded, self._size_divisor)])
        allocated = self._images.shape[1:3]
        if size[0] > allocated[0] or size[1] > allocated[1]:
            self._resize(common_size([size, allocated]))
        canvas = self._images[len(self._rows)]
        picture.draw(canvas[:height, :width])
        fill_padding(canvas, picture.padded, self._pad_value)
        self._size = size
        objects = sample.boxes, sample.labels, sample.ignored
        self._rows.append((*objects, sample.image_id, sample.file_name, sample.original_size, sample.scale))

    def packed(self) -> PackedBatch:
        """The samples, of which there must be one, at their common size."""
        if self._images.shape[1:3] != self._size:
            self._resize(self._size)
        boxes, labels, ignored, image_ids, file_names, sizes, scales = map(list, zip(*self._rows, strict=True))
        return PackedBatch(
            images=self._images[: len(boxes)],
            boxes=np.concatenate(boxes).astype(np.float32, copy=False),
            labels=np.concatenate(labels).astype(np.int64, copy=False),
            counts=[len(each) for each in boxes],
            ignored=np.concatenate(ignored).astype(np.float32, copy=False),
            ignored_counts=[len(each) for each in ignored],
            image_ids=image_ids,
            file_names=file_names,
            original_sizes=sizes,
            scales=scales,
        )

    def _resize(self, size: tuple[int, int]) -> None:
        """Pads or cuts off the images at the right and the bottom."""
        before = self._images
        self._images = self._memory.take(len(before), *size, 3)
        height, width = (min(pair) for pair in zip(size, before.shape[1:3], strict=True))
        self._images[:, :height, :width] = before[:, :height, :width]
        for canvas in self._images:
            fill_padding(canvas, (height, width), self._pad_value)


def common_size(sizes: Sequence[Sequence[int]]) -> tuple[int, int]:
    """(height, width) of the smallest picture that pictures of all these sizes fit into."""
    return max(size[0] for size in sizes), max(size[1] for size in sizes)


def padded_size(size: Sequence[int], size_divisor: int) -> tuple[int, int]:
    """(height, width), both rounded up to a multiple of `size_divisor`."""
    height, width = size
    return ceil_div(height, size_divisor) * size_divisor, ceil_div(width, size_divisor) * size_divisor
