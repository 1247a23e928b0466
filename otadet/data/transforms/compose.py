"""Transforms of transforms: one after the other, and for a part of the training."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Annotated, Any, TypeGuard, TypeVar, cast

import numpy as np

from otadet.data.sample import MixingTransform, Sample, TrainTransform, Transform
from otadet.data.transforms.result import checked
from otadet.data.transforms.same_size import SameSize
from otadet.data.view import OnViews, View, is_on_views
from otadet.errors import UserError
from otadet.limits import Limits
from otadet.part import Part

_Holder = TypeVar("_Holder", bound=object)


@dataclass(frozen=True)
class Compose(OnViews):
    """One transform after the other.

    Each `MixingTransform` among them gets others of its own, untouched by the transforms before it.
    """

    transforms: tuple[TrainTransform, ...]

    @property
    def others(self) -> int:
        """How many other samples all of them need."""
        return sum(others_of(transform) for transform in self.transforms)

    def at_progress(self, progress: float) -> Compose:
        """What it is when that share (0-1) of the training is over."""
        return _with(self, "transforms", tuple(at_progress(transform, progress) for transform in self.transforms))

    def for_batch(self, rng: np.random.Generator) -> Compose:
        """What it is in one batch. rng: the same for all its images."""
        return _with(self, "transforms", tuple(for_batch(transform, rng) for transform in self.transforms))

    def as_view(self, view: View, rng: np.random.Generator, others: Sequence[Sample] = ()) -> View:
        """What is done after the last of them that looks at pixels is left to be drawn."""
        if len(others) != self.others:
            raise ValueError(f"{self}: needs {self.others} other samples, but got {len(others)}")
        used = 0
        for transform in self.transforms:
            count = others_of(transform)
            # A slice, so that those of which nobody makes use are not read.
            view = apply_as_view(transform, view, rng, others[used : used + count])
            used += count
        return view

    def output_size(self, height: int, width: int) -> tuple[int, int] | None:
        """(height, width) of the result for an image of that size, or None where it is not known beforehand."""
        size: tuple[int, int] | None = (height, width)
        for transform in self.transforms:
            size = None if size is None else output_size(transform, *size)
        return size


@dataclass(frozen=True)
class Until(Part):
    """`transform` during the first `share` (0-1) of the training, then nothing: `Until(0.95, Mosaic())`.

    A function of the position in the stream alone, so that a resumed training goes on as if it had never stopped.
    """

    share: Annotated[float, Limits(0, 1)]
    """Of the training, 0-1."""
    transform: TrainTransform

    @property
    def others(self) -> int:
        """How many other samples it needs while it lasts."""
        return others_of(self.transform)

    def at_progress(self, progress: float) -> TrainTransform:
        """What it is when that share (0-1) of the training is over."""
        return at_progress(self.transform, progress) if progress < self.share else _Unchanged()

    def for_batch(self, rng: np.random.Generator) -> Until:
        """What it is in one batch. rng: the same for all its images."""
        return _with(self, "transform", for_batch(self.transform, rng))

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample] = ()) -> Sample:
        raise UserError(
            f"{self}: only the loader of a training knows when it ends; use it as the transform of the training set, "
            "by itself or in a Compose"
        )


def at_progress(transform: TrainTransform, progress: float) -> TrainTransform:
    """The transform as it is when the share `progress` (0-1) of the training is over: without each `Until` that ended.

    One of yours that holds others has a method `at_progress` as `Compose` does; else it is the same all along.
    """
    changing = getattr(transform, "at_progress", None)
    return transform if changing is None else changing(progress)


def for_batch(transform: TrainTransform, rng: np.random.Generator) -> TrainTransform:
    """The transform as it is in one batch, so that images of one batch can have a size in common.

    One of yours that draws something for a whole batch has a method `for_batch` as `MultiScale` does, one that holds
    others as `Compose` does; else it is the same in all of them.
    """
    changing = getattr(transform, "for_batch", None)
    return transform if changing is None else changing(rng)


def is_mere_list(transform: Any) -> TypeGuard[Compose]:
    """Whether it does what its transforms do, and nothing else: a class derived from `Compose` may do more."""
    methods = "__call__", "as_view", "at_progress", "for_batch"
    return isinstance(transform, Compose) and all(
        getattr(type(transform), name) is getattr(Compose, name) for name in methods
    )


def is_constant(transform: TrainTransform) -> bool:
    """Whether `at_progress` and `for_batch` never change it."""
    if is_mere_list(transform):
        return all(map(is_constant, transform.transforms))
    return not (hasattr(transform, "at_progress") or hasattr(transform, "for_batch"))


def others_of(transform: TrainTransform) -> int:
    """How many other samples a transform needs. Raises `UserError` where what it says is no number."""
    count = getattr(transform, "others", 0)
    if not isinstance(count, int) or count < 0:
        raise UserError(f"{transform}: others is {count!r}; it is the number of other samples that a transform needs")
    return count


def output_size(transform: TrainTransform, height: int, width: int) -> tuple[int, int] | None:
    """(height, width) of its result for an image of that size; None where it does not say, or does not know."""
    known = getattr(transform, "output_size", None)
    return None if known is None else known(height, width)


def apply(transform: TrainTransform, sample: Sample, rng: np.random.Generator, others: Sequence[Sample] = ()) -> Sample:
    """Call it with the others that it needs, which many do not know of.

    Raises `ValueError` for another number of them, and `UserError` for what is no sample that can be trained on.
    """
    return apply_as_view(transform, View.of(sample), rng, others).plain()


def apply_as_view(
    transform: TrainTransform, view: View, rng: np.random.Generator, others: Sequence[Sample] = ()
) -> View:
    """`apply`, for those who say later where the picture is to be drawn."""
    if is_mere_list(transform):
        return transform.as_view(view, rng, others)
    count = others_of(transform)
    if len(others) != count:
        raise ValueError(f"{transform}: needs {count} other samples, but got {len(others)}")
    if is_on_views(transform):
        return transform.as_view(view, rng, others)
    sample = view.plain()
    if count:
        return View.of(checked(transform, cast("MixingTransform", transform)(sample, rng, others)))
    return View.of(checked(transform, cast("Transform", transform)(sample, rng)))


def needs_no_pixels(transform: TrainTransform) -> bool:
    """Whether all that it does to a picture can be done when that is drawn."""
    if isinstance(transform, Compose):
        return is_mere_list(transform) and all(map(needs_no_pixels, transform.transforms))
    return is_on_views(transform)


def _with(transform: _Holder, field: str, value: Any) -> _Holder:
    """The transform with another value of that field: one of a derived class stays so, however those are made."""
    other = copy(transform)
    object.__setattr__(other, field, value)
    return other


class _Unchanged(SameSize, OnViews):
    def as_view(self, view: View, rng: np.random.Generator, others: Sequence[Sample] = ()) -> View:
        return view
