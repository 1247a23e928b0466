"""Makes the batches of an evaluation, in whichever process: reads, transforms and packs the images of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np

from otadet.data.batch import Packer, padded_size
from otadet.data.batch_memory import BatchMemory
from otadet.data.made_batch import AUGMENTATION, Entry, Made, portable
from otadet.data.reading import Reading, SampleSource
from otadet.data.sample import Transform
from otadet.data.transforms.compose import apply_as_view, needs_no_pixels
from otadet.data.view import View, has_views


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
        indices = [index for index, _ in entries]
        unread = needs_no_pixels(self.transform) and has_views(self.source)
        reading = Reading(self.source, self.skip, made.unreadable)
        views: Iterator[View | None] = map(self._view, repeat(reading), indices, repeat(unread))
        if unread:
            # All at once, as the generators of `TrainBatchMaker`.
            views = iter(list(views))
        packer: Packer | None = None
        first: tuple[int, int] | None = None
        of_other_sizes: dict[tuple[int, int], list[tuple[int, View]]] = {}
        for index in indices:
            view = next(views)
            if view is None:
                continue
            size = padded_size(view.picture.padded, self.size_divisor)
            if packer is None:
                packer, first = self._packer(len(entries), size), size
            if size == first:
                reading.added(packer, view, index)
            else:
                # Pixels that wait for the others are kept as small as they are going to be.
                of_other_sizes.setdefault(size, []).append((index, view if unread else view.drawn()))
            # Else there would be two images at a time.
            del view
        packers = [] if packer is None else [packer]
        for size, group in of_other_sizes.items():
            packers.append(self._packer(len(group), size))
            for index, view in group:
                reading.added(packers[-1], view, index)
        made.batches += [packer.packed() for packer in packers if len(packer)]
        return made

    def _packer(self, count: int, size: tuple[int, int]) -> Packer:
        return Packer(count, size, self.pad_value, self.size_divisor, self.memory)

    def _view(self, reading: Reading, index: int, unread: bool) -> View | None:
        """None for an image that cannot be read. unread: leave reading it to whoever draws it."""
        if unread and has_views(self.source):
            view = self.source.view(index)
        else:
            sample = reading.sample(index)
            if sample is None:
                return None
            view = View.of(sample)
        return apply_as_view(self.transform, view, np.random.default_rng((0, AUGMENTATION, index)))

    def __reduce__(self) -> tuple[Any, ...]:
        return portable(self)
