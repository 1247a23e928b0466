"""Batches: a training stream that can be resumed at any iteration, and one pass for evaluation."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from otadet.boxes import clip
from otadet.data.order import ByOrientation, Order, Shuffled
from otadet.data.transforms import Sample, Transform
from otadet.errors import UserError
from otadet.structures import Detections, GroundTruth
from otadet.user_modules import Portable

_AUGMENTATION = 1
"""Separates this random stream from those that `order` draws from the seed."""


class SampleSource(Protocol):
    """What the loaders need of a data set.

    It may also have `sizes`, (I, 2) height, width of the files in pixels: to know what belongs together unread.
    """

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample: ...


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
        """The same batch with its tensors on `device`."""
        images = self.images.to(device, non_blocking=non_blocking)
        return replace(self, images=images, truths=[truth.to(device, non_blocking) for truth in self.truths])

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from where copies to a GPU do not block."""
        truths = [GroundTruth(truth.boxes.pin_memory(), truth.labels.pin_memory()) for truth in self.truths]
        return replace(self, images=self.images.pin_memory(), truths=truths)


def collate(samples: Sequence[Sample], pad_value: tuple[int, int, int], size_divisor: int = 32) -> Batch:
    """Pads samples to their common size, rounded up to a multiple of `size_divisor`, with the RGB `pad_value`."""
    height, width = (
        -(-max(sample.image.shape[axis] for sample in samples) // size_divisor) * size_divisor for axis in (0, 1)
    )
    images = np.empty((len(samples), height, width, 3), np.uint8)
    images[:] = pad_value
    for canvas, sample in zip(images, samples, strict=True):
        canvas[: sample.image.shape[0], : sample.image.shape[1]] = sample.image
    return Batch(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        truths=[GroundTruth(torch.from_numpy(sample.boxes), torch.from_numpy(sample.labels)) for sample in samples],
        image_ids=[sample.image_id for sample in samples],
        file_names=[sample.file_name for sample in samples],
        original_sizes=[sample.original_size for sample in samples],
        scales=[sample.scale for sample in samples],
    )


def to_original(detections: Detections, scale: tuple[float, float], original_size: tuple[int, int]) -> Detections:
    """Boxes in pixels of a resized or padded image -> in pixels of its file, clipped to it.

    scale: (x, y) of `Sample` or `Batch`. original_size: (height, width) of the file.
    """
    boxes = detections.boxes / detections.boxes.new_tensor((*scale, *scale))
    return replace(detections, boxes=clip(boxes, *original_size))


def train_loader(
    dataset: SampleSource,
    transform: Transform,
    *,
    batch_size: int,
    iterations: int,
    start_iteration: int = 0,
    seed: int = 0,
    group_by_aspect: bool = False,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pad_value: tuple[int, int, int],
    size_divisor: int = 32,
    pin_memory: bool = False,
) -> BatchStream:
    """The batches `start_iteration` ... `iterations` - 1 of an endless stream, of which this rank gets its share.

    The stream is a function of the seed and the position in it alone: neither `workers`, nor `world_size`, nor the
    iteration it is started at change a sample or its augmentation. Every epoch is a new permutation of the data set;
    batches reach across epochs, so each of them is full.

    group_by_aspect: the images of one rank in one batch are all wide or all tall, see `ByOrientation`; the stream is
        then also a function of `batch_size` and `world_size`.
    batch_size: images of one iteration over all ranks; a multiple of `world_size`.
    pin_memory: for copies to a GPU that do not block.
    """
    if not len(dataset):
        raise UserError("the training set has no images")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must not be negative")
    if batch_size < 1 or batch_size % world_size:
        raise UserError(f"batch_size {batch_size} cannot be shared equally by {world_size} devices; make it a multiple")
    order = _by_orientation(dataset, seed) if group_by_aspect else Shuffled(np.arange(len(dataset)), (seed, 0))
    batches = _TrainBatches(order, batch_size // world_size, start_iteration, iterations, rank, world_size)
    return _stream(dataset, transform, batches, seed, workers, partial(_collate, pad_value, size_divisor), pin_memory)


def eval_loader(
    dataset: SampleSource,
    transform: Transform,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pad_value: tuple[int, int, int],
    size_divisor: int = 32,
    pin_memory: bool = False,
) -> BatchStream:
    """Every image of the data set exactly once over the ranks, in order; a rank may have no batch at all.

    batch_size: images of one batch on this rank.
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    indices = range(rank, len(dataset), world_size)
    starts = range(0, len(indices), batch_size)
    batches = [[(index, index) for index in indices[start : start + batch_size]] for start in starts]
    return _stream(dataset, transform, batches, 0, workers, partial(_collate, pad_value, size_divisor), pin_memory)


class BatchStream:
    """An iterable of `Batch` that knows its length.

    Iterating raises `UserError` when an image cannot be read, from a worker as from the main process.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch


def _by_orientation(dataset: SampleSource, seed: int) -> ByOrientation:
    sizes = getattr(dataset, "sizes", None)
    if sizes is None:
        raise UserError(
            f"group_by_aspect: {type(dataset).__name__} does not know the sizes of its images; "
            "give it `sizes`, an array of (height, width), or set group_by_aspect false"
        )
    return ByOrientation(sizes[:, 0] > sizes[:, 1], seed)


@dataclass(frozen=True)
class _TrainBatches:
    """Batches of (index in the data set, position in the stream)."""

    order: Order
    share: int
    """Images of a batch on each rank."""
    start: int
    stop: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for iteration in range(self.start, self.stop):
            number = iteration * self.world_size + self.rank
            yield list(
                zip(
                    self.order.batch(number, self.share),
                    range(number * self.share, (number + 1) * self.share),
                    strict=True,
                )
            )


@dataclass(frozen=True)
class _Transformed(Dataset):
    """Samples after the transform. An unreadable image is returned as the error: PyTorch would bury its message in the
    traceback of the worker."""

    source: SampleSource
    transform: Transform
    seed: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index_and_position: tuple[int, int]) -> Sample | UserError:
        index, position = index_and_position
        try:
            sample = self.source.sample(index)
        except UserError as error:
            return error
        return self.transform(sample, np.random.default_rng((self.seed, _AUGMENTATION, position)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Data set and transform may be of classes that an experiment file defines.
        return _transformed, (Portable((self.source, self.transform, self.seed)),)


def _transformed(parts: Portable) -> _Transformed:
    return _Transformed(*parts.value)


def _collate(
    pad_value: tuple[int, int, int], size_divisor: int, samples: Sequence[Sample | UserError]
) -> Batch | UserError:
    errors = [sample for sample in samples if isinstance(sample, UserError)]
    return errors[0] if errors else collate(samples, pad_value, size_divisor)


def _stream(
    dataset: SampleSource,
    transform: Transform,
    batches: Sequence[list[tuple[int, int]]],
    seed: int,
    workers: int,
    collate_samples: partial,
    pin_memory: bool,
) -> BatchStream:
    return BatchStream(
        DataLoader(
            _Transformed(dataset, transform, seed),
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=collate_samples,
            pin_memory=pin_memory,
            worker_init_fn=_prepare_worker,
            # Without a generator of its own, starting a loader would draw from the global one and change the training.
            generator=torch.Generator().manual_seed(seed),
        )
    )


def _prepare_worker(worker: int) -> None:
    # The workers share the cores already.
    cv2.setNumThreads(0)
    # Ctrl-C reaches all processes of a terminal; what to make of it is for the one that uses the batches to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
