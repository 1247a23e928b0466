"""Which images each batch of a training holds: a function of the seed and the number of the batch alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

_ORIENTATIONS = 2
"""Separates this random stream from others of the seed: 0 is the order of all images, 1 the augmentation."""

_LONGEST_RUN = 64
"""Batches among which the tall ones are shuffled; an epoch where that is shorter."""


_FINE = 2**20
"""Of one image: sums of repeats are compared as whole numbers of such parts, so that no rounding adds up."""


class Order(Protocol):
    """An endless sequence of images that is handed out in batches of one device."""

    def batch(self, number: int, size: int) -> Sequence[int]:
        """(size,) indices in the data set: device batch `number`, counted over iterations and ranks."""
        ...

    def alike(self, index: int) -> np.ndarray:
        """int64, the images that may stand in for image `index`, itself among them."""
        ...


class _InRandomOrder(ABC):
    """All images one after the other, whatever their size; batches reach across epochs."""

    images: np.ndarray

    def batch(self, number: int, size: int) -> list[int]:
        return [self._at(position) for position in range(number * size, (number + 1) * size)]

    def alike(self, index: int) -> np.ndarray:
        return self.images

    @abstractmethod
    def _at(self, position: int) -> int:
        """The image at a place in the sequence."""


@dataclass
class Shuffled(_InRandomOrder):
    """Every epoch is a new permutation of the images, and batches reach across epochs."""

    images: np.ndarray
    """(S,) indices in the data set."""
    seed: tuple[int, ...]
    _epoch: int = field(default=-1, repr=False)
    _order: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False)

    def _at(self, position: int) -> int:
        epoch, place = divmod(position, len(self.images))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((*self.seed, epoch)).permutation(self.images)
        return int(self._order[place])


@dataclass
class Repeated(_InRandomOrder):
    """As `Shuffled`, but an epoch has each image as often as `repeats` says, its fraction left to chance each time."""

    images: np.ndarray
    """(S,) indices in the data set."""
    repeats: np.ndarray
    """(S,) float, at least 1."""
    seed: tuple[int, ...]
    _starts: list[int] = field(default_factory=lambda: [0], repr=False)
    _epoch: int = field(default=-1, repr=False)
    _order: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False)

    def _at(self, position: int) -> int:
        while self._starts[-1] <= position:
            counts, _ = self._drawn(len(self._starts) - 1)
            self._starts.append(self._starts[-1] + int(counts.sum()))
        epoch = bisect_right(self._starts, position) - 1
        if epoch != self._epoch:
            counts, rng = self._drawn(epoch)
            self._epoch = epoch
            self._order = rng.permutation(np.repeat(self.images, counts))
        return int(self._order[position - self._starts[epoch]])

    def _drawn(self, epoch: int) -> tuple[np.ndarray, np.random.Generator]:
        """(S,) how often each image comes in that epoch, and the generator for the rest of it."""
        rng = np.random.default_rng((*self.seed, epoch))
        whole = np.floor(self.repeats)
        return (whole + (rng.random(len(whole)) < self.repeats - whole)).astype(np.int64), rng


def shuffled(images: np.ndarray, repeats: np.ndarray | None, seed: tuple[int, ...]) -> Shuffled | Repeated:
    """The images in random order; repeats: (S,) how often each comes per epoch, None or all of them 1: once."""
    if repeats is None or (repeats == 1).all():
        return Shuffled(images, seed)
    return Repeated(images, repeats, seed)


@dataclass
class ByOrientation:
    """The images of each batch are all wide (width >= height) or all tall, so that little of a batch is padding.

    Wide and tall images are shuffled apart, each kind in epochs of its own. In a run of batches the tall ones come in
    random order but in proportion: where T of S images are tall, b T / S of the first b batches are, to within one at
    the end of a run. So no image is left out, none is used more often than another by more than the rounding to
    batches, and every batch is full. With `repeats` T and S are their sums.
    """

    is_tall: np.ndarray
    """(S,) bool."""
    seed: int
    repeats: np.ndarray | None = None
    """(S,) how often each image comes per epoch; None: once."""
    _kinds: tuple[Shuffled | Repeated, ...] = field(init=False, repr=False)
    _tall: int = field(init=False, repr=False)
    _all: int = field(init=False, repr=False)
    _run: tuple[int, int] = field(default=(-1, -1), init=False, repr=False)
    _tall_before: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows = [np.flatnonzero(self.is_tall == tall) for tall in (False, True)]
        repeats = np.ones(len(self.is_tall)) if self.repeats is None else self.repeats
        self._kinds = tuple(
            shuffled(images, repeats[images], (self.seed, _ORIENTATIONS, tall)) for tall, images in enumerate(rows)
        )
        self._tall, self._all = (round(_FINE * float(repeats[images].sum())) for images in (rows[1], slice(None)))

    def batch(self, number: int, size: int) -> list[int]:
        before, after = (self._tall_batches(count, size) for count in (number, number + 1))
        return self._kinds[1].batch(before, size) if after > before else self._kinds[0].batch(number - before, size)

    def alike(self, index: int) -> np.ndarray:
        return self._kinds[int(self.is_tall[index])].images

    def _tall_batches(self, count: int, size: int) -> int:
        """How many of the first `count` batches are tall."""
        length = min(max(len(self.is_tall) // size, 1), _LONGEST_RUN)
        run, place = divmod(count, length)
        start, end = (number * length * self._tall // self._all for number in (run, run + 1))
        if (run, length) != self._run:
            is_tall_batch = np.arange(length) < end - start
            rng = np.random.default_rng((self.seed, _ORIENTATIONS, 2, run))
            self._tall_before = np.concatenate(([0], rng.permutation(is_tall_batch).cumsum()))
            self._run = run, length
        return start + int(self._tall_before[place])
