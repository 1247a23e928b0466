"""Makes the batches of a training, in whichever process: reads, transforms and packs the images of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Any, overload

import numpy as np

from otadet.data.batch import PackedBatch, Packer, common_size, padded_size
from otadet.data.batch_memory import BatchMemory
from otadet.data.made_batch import AUGMENTATION, Entry, Made, portable
from otadet.data.order import Order
from otadet.data.reading import Reading, SampleSource
from otadet.data.sample import Sample, TrainTransform
from otadet.data.transforms.compose import (
    apply_as_view,
    at_progress,
    for_batch,
    is_constant,
    needs_no_pixels,
    others_of,
    output_size,
)
from otadet.data.view import View, has_views
from otadet.errors import UserError

_SUBSTITUTE, _BATCH = 3, 4
"""Separate these random streams from those that `order` draws from the seed."""
_SUBSTITUTES = 100
"""Tried in the place of one image, before it is said that something else must be wrong."""


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
        generators = [np.random.default_rng((self.seed, AUGMENTATION, position)) for position in positions]
        different = {id(transform): transform for transform in transforms}.values()
        unread = all(map(needs_no_pixels, different)) and has_views(self.source)
        reading = Reading(self.source, self.skip, made.unreadable)
        views: Iterator[View] = map(
            self._view, repeat(reading), indices, positions, transforms, generators, repeat(unread)
        )
        size = None if unread else self._expected_size(transforms, indices)
        if size is None:
            # Pixels that wait for the others are kept as small as they are going to be.
            known = list(views if unread else map(View.drawn, views))
            size = common_size([padded_size(view.picture.padded, self.size_divisor) for view in known])
            views = iter(known)
        packer = Packer(len(entries), size, self.pad_value, self.size_divisor, self.memory)
        for index, position, transform in zip(indices, positions, transforms, strict=True):
            # No name for the view here, or there would be two images at a time.
            if reading.added(packer, next(views), index):
                continue
            rng = np.random.default_rng((self.seed, AUGMENTATION, position))
            packer.add(self._view(reading, index, position, transform, rng, unread=False))
        made.batches.append(packer.packed())
        self._check_classes(made.batches[0])
        return made

    def _transforms(self, positions: Sequence[int]) -> list[TrainTransform]:
        """The transform as it is at each of these positions, which are of one iteration."""
        if is_constant(self.transform):
            return [self.transform] * len(positions)
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

    def _view(
        self,
        reading: Reading,
        index: int,
        position: int,
        transform: TrainTransform,
        rng: np.random.Generator,
        unread: bool,
    ) -> View:
        """unread: leave reading the image to whoever draws it."""
        if unread and has_views(self.source):
            view = self.source.view(index)
        else:
            view = View.of(self._sample(reading, index, (position,)))
        count = others_of(transform)
        # None is drawn where none is needed, so that the transform draws the same then.
        drawn = rng.integers(len(self.source), size=count).tolist() if count else []
        reads = [partial(self._sample, reading, other, (position, place)) for place, other in enumerate(drawn, start=1)]
        return apply_as_view(transform, view, rng, _Unread(reads))

    def _check_classes(self, batch: PackedBatch) -> None:
        """Raise `UserError`, naming the image, for a label beyond the data's classes: on an accelerator nobody else
        would see it."""
        classes = len(getattr(self.source, "class_names", ()))
        if not classes or not len(batch.labels) or (label := int(batch.labels.max())) < classes:
            return
        image = int(np.searchsorted(np.cumsum(batch.counts), batch.labels.argmax(), side="right"))
        raise UserError(
            f"{batch.file_names[image]}: the transforms made it a label of {label}, but the data have {classes} "
            f"classes, 0 to {classes - 1}"
        )

    def _sample(self, reading: Reading, index: int, place: tuple[int, ...]) -> Sample:
        """That of `index`, or a substitute. place: where it is used, another for each in the stream."""
        sample = reading.sample(index)
        if sample is not None:
            return sample
        alike = self.order.alike(index)
        rng = np.random.default_rng((self.seed, _SUBSTITUTE, *place))
        for other in rng.choice(alike, min(len(alike), _SUBSTITUTES), replace=False).tolist():
            sample = reading.sample(other)
            if sample is not None:
                return sample
        raise UserError(
            f"{len(reading.unreadable)} images, and so many in a row, cannot be read; is their folder still there? "
            f"The last: {list(reading.unreadable.values())[-1]}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return portable(self)
