"""Batches: a training stream that can be resumed at any iteration, and one pass for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from loguru import logger

from otadet.data.batch import Batch, PackedBatch, padded_size
from otadet.data.made_batch import Entry
from otadet.data.make_eval_batch import EvalBatchMaker
from otadet.data.make_train_batch import TrainBatchMaker
from otadet.data.order import ByOrientation, Order, shuffled
from otadet.data.reading import SampleSource
from otadet.data.sample import TrainTransform, Transform
from otadet.data.sampling import Sampling
from otadet.data.transforms.compose import others_of, output_size
from otadet.data.workers import Work, no_stop
from otadet.errors import UserError


def train_loader(
    dataset: SampleSource,
    transform: TrainTransform,
    *,
    batch_size: int,
    iterations: int,
    start_iteration: int = 0,
    seed: int = 0,
    group_by_aspect: bool = False,
    sampling: Sampling | None = None,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pad_value: tuple[int, int, int],
    size_divisor: int,
    pin_memory: bool = False,
    unreadable: str = "fail",
    left_out: dict[int, str] | None = None,
    stop: Callable[[], bool] = no_stop,
) -> BatchStream:
    """The batches `start_iteration` ... `iterations` - 1 of an endless stream, of which this rank gets its share.

    The stream is a function of the seed and the position in it alone: neither `workers`, nor `world_size`, nor the
    iteration it is started at change a sample or its augmentation. Every epoch is a new permutation of the data set, in
    which `sampling` may repeat some images; batches reach across epochs, so each of them is full. The other samples of
    a `MixingTransform` are drawn from the whole data set by the generator that the transform draws from, and read when
    it looks at them; where `Until` ends depends on `iterations` too. What is drawn for a whole batch (`MultiScale`) is
    a function of the seed and the iteration.

    Args:
        dataset: the samples.
        transform: called with each sample, and a generator that is a function of the seed and the position.
        batch_size: images of one iteration over all ranks; a multiple of `world_size`.
        iterations: the length of the training.
        start_iteration: the first that is wanted, of a training that goes on.
        group_by_aspect: the images of one rank in one batch are all wide or all tall, see `ByOrientation`; the stream
            is then also a function of `batch_size` and `world_size`.
        sampling: how often each image comes per epoch; None: once.
        workers: loader processes; 0 loads in this one.
        pad_value, size_divisor: images are padded with this RGB to multiples of this, which the network says.
        pin_memory: for copies to a GPU that do not block.
        unreadable: "fail" raises the `UserError` of an image that cannot be read. "skip" takes another one in its
            place, drawn from the seed and the position among those that may come in the same batch: batches stay full,
            and the stream is then a function of which files can be read as well.
        left_out: gets an entry, index -> what is wrong, for each image that was skipped on this rank.
        stop: whether a batch that does not come is not to be waited for any longer.
    """
    if not len(dataset):
        raise UserError("the training set has no images")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must not be negative")
    if batch_size < 1 or batch_size % world_size:
        raise UserError(f"batch_size {batch_size} cannot be shared equally by {world_size} devices; make it a multiple")
    repeats = None if sampling is None else sampling.repeats(dataset)
    order = (
        _by_orientation(dataset, seed, repeats)
        if group_by_aspect
        else shuffled(np.arange(len(dataset)), repeats, (seed, 0))
    )
    batches = _TrainBatches(order, batch_size // world_size, start_iteration, iterations, rank, world_size)
    maker = TrainBatchMaker(
        *(dataset, transform, pad_value, size_divisor, unreadable == "skip", seed, order),
        length=iterations * batch_size,
        batch_size=batch_size,
    )
    return BatchStream(Work(maker, batches), workers, pin_memory, stop, left_out)


def eval_loader(
    dataset: SampleSource,
    transform: Transform,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pad_value: tuple[int, int, int],
    size_divisor: int,
    pin_memory: bool = False,
    unreadable: str = "fail",
    left_out: dict[int, str] | None = None,
    stop: Callable[[], bool] = no_stop,
) -> BatchStream:
    """Every image of the data set exactly once over the ranks; a rank may have no batch at all.

    The images of a batch have one padded size, so that no image is padded more in a batch than it is alone. They come
    in groups of one size, the largest first, where the data set knows the `sizes` and the transform its `output_size`;
    else in the order of the data set, and what was loaded together is parted by size.

    Args:
        dataset: the samples.
        transform: called with each sample, and a generator that is a function of its index.
        batch_size: images of one batch on this rank, at most.
        workers: loader processes; 0 loads in this one.
        pad_value, size_divisor: images are padded with this RGB to multiples of this, which the network says.
        pin_memory: for copies to a GPU that do not block.
        unreadable: "fail" raises the `UserError` of an image that cannot be read, "skip" leaves the image out.
        left_out: gets an entry, index -> what is wrong, for each image that was skipped on this rank.
        stop: whether a batch that does not come is not to be waited for any longer.
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    if others_of(transform):
        raise UserError(f"{transform}: needs other samples, which there are in training alone")
    batches = _eval_batches(_padded_sizes(dataset, transform, size_divisor), batch_size, rank, world_size)
    maker = EvalBatchMaker(dataset, transform, pad_value, size_divisor, unreadable == "skip")
    return BatchStream(Work(maker, batches), workers, pin_memory, stop, left_out)


class BatchStream:
    """An iterable of `Batch`.

    Its length is that of a training, or of an evaluation whose sizes are known beforehand: without them, or with images
    left out, the number of batches is another. Iterating raises `UserError` when an image cannot be read or a loader
    process died.
    """

    def __init__(
        self,
        work: Work,
        workers: int,
        pin_memory: bool,
        stop: Callable[[], bool],
        unreadable: dict[int, str] | None = None,
    ) -> None:
        self._work, self._workers, self._pin_memory, self._stop = work, workers, pin_memory, stop
        self.unreadable = {} if unreadable is None else unreadable
        """Index -> what is wrong, of the images that were left out since this object was made."""

    def __len__(self) -> int:
        return len(self._work.items)

    def __iter__(self) -> Iterator[Batch]:
        for made in self._work.results(self._workers, self._stop):
            self._name(made.unreadable)
            # Without a name for what is yielded, whose memory could not be used again as long as it had one.
            while made.batches:
                yield self._unpacked(made.batches.pop(0))

    def _unpacked(self, packed: PackedBatch) -> Batch:
        batch = packed.unpack()
        return batch.pin_memory() if self._pin_memory else batch

    def _name(self, unreadable: dict[int, str]) -> None:
        for index, message in unreadable.items():
            if index not in self.unreadable:
                self.unreadable[index] = message
                logger.warning(f"{message}; left out (unreadable images so far: {len(self.unreadable)})")


def _by_orientation(dataset: SampleSource, seed: int, repeats: np.ndarray | None) -> ByOrientation:
    sizes = getattr(dataset, "sizes", None)
    if sizes is None:
        raise UserError(
            f"group_by_aspect: {type(dataset).__name__} does not know the sizes of its images; "
            "give it `sizes`, an array of (height, width), or set group_by_aspect false"
        )
    return ByOrientation(sizes[:, 0] > sizes[:, 1], seed, repeats)


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


def _padded_sizes(dataset: SampleSource, transform: Transform, size_divisor: int) -> list[tuple[int, int]]:
    """Of every image, or the same for all where they are not known beforehand."""
    sizes = getattr(dataset, "sizes", None)
    if sizes is None:
        return [(0, 0)] * len(dataset)
    found = [output_size(transform, height, width) for height, width in sizes.tolist()]
    return [(0, 0) if size is None else padded_size(size, size_divisor) for size in found]


def _eval_batches(sizes: list[tuple[int, int]], batch_size: int, rank: int, world_size: int) -> list[list[Entry]]:
    """The batches of one rank, which has its share of every size."""
    largest_first = sorted(
        range(len(sizes)), key=lambda index: (-sizes[index][0] * sizes[index][1], sizes[index], index)
    )
    batches: list[list[Entry]] = []
    for _, group in groupby(largest_first[rank::world_size], key=lambda index: sizes[index]):
        entries = [(index, index) for index in group]
        batches += [entries[start : start + batch_size] for start in range(0, len(entries), batch_size)]
    return batches
