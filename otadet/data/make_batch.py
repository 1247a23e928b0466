"""Reads, transforms and collates the images of one batch, in whichever process."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, overload

import numpy as np

from otadet.data.batch import PackedBatch, Packer, common_size, pack, padded_size
from otadet.data.batch_memory import BatchMemory
from otadet.data.order import Order
from otadet.data.sample import Sample, TrainTransform, Transform
from otadet.data.transforms.compose import apply_as_view, at_progress, for_batch, others_of, output_size
from otadet.errors import UserError
from otadet.user_modules import Portable

_AUGMENTATION, _SUBSTITUTE, _BATCH = 1, 3, 4
"""Separate these random streams from those that `order` draws from the seed."""
_SUBSTITUTES = 100
"""Tried in the place of one image, before it is said that something else must be wrong."""
_NO_FAULT_OF_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

Entry = tuple[int, int]
"""(index in the data set, position in the stream)."""


class SampleSource(Protocol):
    """What the loaders need of a data set.

    It may also have `sizes`, (S, 2) height, width of the files in pixels: to know what belongs together unread.
    """

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample: ...


@dataclass
class Made:
    """What was made of the entries of one batch."""

    batches: list[PackedBatch]
    unreadable: dict[int, str] = field(default_factory=dict)
    """Index -> what is wrong, of the images that were left out."""


class _Unread(Sequence[Sample]):
    """Other samples that are read when they are asked for, since a transform may leave it to chance whether it does."""

    def __init__(self, reads: Sequence[Callable[[], Sample]]) -> None:
        self._reads = reads
        self._read: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self._reads)

    @overload
    def __getitem__(self, place: int) -> Sample: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Sample]: ...

    def __getitem__(self, place: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(place, slice):
            return _Unread(self._reads[place])
        place = range(len(self))[place]
        if place not in self._read:
            self._read[place] = self._reads[place]()
        return self._read[place]


@dataclass(frozen=True)
class TrainBatchMaker:
    """Makes one batch; with `skip` another image takes the place of one that cannot be read."""

    source: SampleSource
    transform: TrainTransform
    pad_value: tuple[int, int, int]
    size_divisor: int
    skip: bool
    seed: int
    order: Order
    length: int
    """Positions in the stream of the whole training."""
    batch_size: int
    """Positions of one iteration, over all ranks."""
    memory: BatchMemory = field(default_factory=BatchMemory, compare=False, repr=False)

    def __call__(self, entries: Sequence[Entry]) -> Made:
        made = Made([])
        indices, positions = zip(*entries, strict=True)
        transforms = self._transforms(positions)
        # All at once: between pictures, which drive everything else out of the processor's cache, each takes several
        # times as long.
        generators = [np.random.default_rng((self.seed, _AUGMENTATION, position)) for position in positions]
        samples = (
            self._transformed(*arguments, made.unreadable)
            for arguments in zip(indices, positions, transforms, generators, strict=True)
        )
        size = self._expected_size(transforms, indices)
        packing = self.pad_value, self.size_divisor, self.memory
        if size is None:
            made.batches.append(pack(list(samples), *packing))
        else:
            packer = Packer(len(entries), size, *packing)
            # No name for the sample here, or there would be two at a time.
            for _ in map(packer.add, samples):
                pass
            made.batches.append(packer.packed())
        return made

    def _transforms(self, positions: Sequence[int]) -> list[TrainTransform]:
        """The transform as it is at each of these positions, which are of one iteration."""
        of_batch = np.random.default_rng((self.seed, _BATCH, positions[0] // self.batch_size))
        # First, since a batch within which an `Until` ends is to have one size all the same.
        transform = for_batch(self.transform, of_batch)
        return [at_progress(transform, position / self.length) for position in positions]

    def _expected_size(self, transforms: Sequence[TrainTransform], indices: Sequence[int]) -> tuple[int, int] | None:
        """(height, width) of the batch, where the transforms say what they make of images of these sizes."""
        sizes = getattr(self.source, "sizes", None)
        if sizes is None:
            return None
        found = [
            output_size(transform, *size)
            for transform, size in zip(transforms, sizes[list(indices)].tolist(), strict=True)
        ]
        known = [padded_size(size, self.size_divisor) for size in found if size is not None]
        return common_size(known) if len(known) == len(indices) else None

    def _transformed(
        self,
        index: int,
        position: int,
        transform: TrainTransform,
        rng: np.random.Generator,
        unreadable: dict[int, str],
    ) -> Sample:
        sample = self._sample(index, (position,), unreadable)
        count = others_of(transform)
        # None is drawn where none is needed, so that the transform draws the same then.
        drawn = rng.integers(len(self.source), size=count).tolist() if count else []
        reads = [
            partial(self._sample, other, (position, place), unreadable) for place, other in enumerate(drawn, start=1)
        ]
        return self._of_known_classes(apply_as_view(transform, sample, rng, _Unread(reads)))

    def _of_known_classes(self, sample: Sample) -> Sample:
        """The sample itself. Raises `UserError`, naming the image, for labels beyond the data's classes: on an
        accelerator nobody else would see them."""
        classes = len(getattr(self.source, "class_names", ()))
        if classes and len(sample.labels) and (label := int(sample.labels.max())) >= classes:
            raise UserError(
                f"{sample.file_name}: the transforms made it a label of {label}, but the data have {classes} classes, "
                f"0 to {classes - 1}"
            )
        return sample

    def _sample(self, index: int, place: tuple[int, ...], unreadable: dict[int, str]) -> Sample:
        """That of `index`, or a substitute. place: where it is used, another for each in the stream."""
        sample = _read(self.source, index, unreadable, self.skip)
        if sample is not None:
            return sample
        alike = self.order.alike(index)
        rng = np.random.default_rng((self.seed, _SUBSTITUTE, *place))
        for other in rng.choice(alike, min(len(alike), _SUBSTITUTES), replace=False).tolist():
            sample = _read(self.source, other, unreadable, self.skip)
            if sample is not None:
                return sample
        raise UserError(
            f"{len(unreadable)} images, and so many in a row, cannot be read; is their folder still there? "
            f"The last: {list(unreadable.values())[-1]}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _portable(self)


@dataclass(frozen=True)
class EvalBatchMaker:
    """Makes a batch of each padded size that occurs; with `skip` an image that cannot be read is left out."""

    source: SampleSource
    transform: Transform
    pad_value: tuple[int, int, int]
    size_divisor: int
    skip: bool
    memory: BatchMemory = field(default_factory=BatchMemory, compare=False, repr=False)

    def __call__(self, entries: Sequence[Entry]) -> Made:
        made = Made([])
        packing = self.pad_value, self.size_divisor, self.memory
        packer: Packer | None = None
        first: tuple[int, int] | None = None
        of_other_sizes: dict[tuple[int, int], list[Sample]] = {}
        for index, _ in entries:
            sample = self._transformed(index, made.unreadable)
            if sample is None:
                continue
            size = padded_size(sample.image.shape[:2], self.size_divisor)
            if packer is None:
                packer, first = Packer(len(entries), size, *packing), size
            if size == first:
                packer.add(sample)
            else:
                of_other_sizes.setdefault(size, []).append(sample)
            # Else there would be two at a time.
            del sample
        made.batches += [] if packer is None else [packer.packed()]
        made.batches += [pack(samples, *packing) for samples in of_other_sizes.values()]
        return made

    def _transformed(self, index: int, unreadable: dict[int, str]) -> Sample | None:
        sample = _read(self.source, index, unreadable, self.skip)
        if sample is None:
            return None
        return apply_as_view(self.transform, sample, np.random.default_rng((0, _AUGMENTATION, index)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _portable(self)


def _read(source: SampleSource, index: int, unreadable: dict[int, str], skip: bool) -> Sample | None:
    """None, and an entry in `unreadable`, for an image that is to be left out."""
    if index in unreadable:
        return None
    try:
        return source.sample(index)
    except UserError as error:
        if not skip or getattr(error.__cause__, "errno", None) in _NO_FAULT_OF_THE_FILE:
            raise
        unreadable[index] = str(error)
        return None


def _portable(maker: Any) -> tuple[Any, ...]:
    # Data set and transform may be of classes that an experiment file defines.
    return _restored, (type(maker), Portable(tuple(vars(maker).values())))


def _restored(kind: type, parts: Portable) -> Any:
    return kind(*parts.value)
