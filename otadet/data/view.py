"""Samples whose pictures are not drawn before it is known where: into the memory of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import cv2
import numpy as np

from otadet.data.pixels import copy_pixels, fill_padding, resize
from otadet.data.sample import Sample

_FLIP_CODES = {(True, False): 1, (False, True): 0, (True, True): -1}
"""OpenCV's, for (left-right, top-bottom)."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that is still to be resized, then padded, then mirrored, and perhaps to be read before."""

    source: np.ndarray | Callable[[], np.ndarray]
    """(H, W, 3) uint8 RGB, or what reads it."""
    source_size: tuple[int, int]
    """(height, width) of that."""
    size: tuple[int, int]
    """(height, width) that it is resized to."""
    padded: tuple[int, int]
    """(height, width) that it is padded to, at the right and the bottom: of the picture."""
    shrink: str = "area"
    """As of `pixels.resize`."""
    pad_value: tuple[int, int, int] = (0, 0, 0)
    """RGB of the padding."""
    mirrored: tuple[bool, bool] = (False, False)
    """(left-right, top-bottom)."""

    @classmethod
    def of(cls, image: np.ndarray) -> Picture:
        """The image as it is."""
        size = image.shape[0], image.shape[1]
        return cls(image, size, size, size)

    def resized(
        self,
        size: tuple[int, int],
        shrink: str,
        padded: tuple[int, int] | None = None,
        pad_value: tuple[int, int, int] = (0, 0, 0),
    ) -> Picture:
        """This picture, to which nothing is to be done so far, at another size, and perhaps padded."""
        return Picture(self.source, self.source_size, size, padded or size, shrink, pad_value)

    def mirrored_also(self, left_right: bool, top_bottom: bool) -> Picture:
        """This picture, mirrored once more in these directions."""
        mirrored = self.mirrored[0] != left_right, self.mirrored[1] != top_bottom
        return Picture(
            *(self.source, self.source_size, self.size, self.padded, self.shrink, self.pad_value), mirrored=mirrored
        )

    @property
    def is_source(self) -> bool:
        """Whether nothing is to be done to it."""
        return self._has_size and not any(self.mirrored)

    def pixels(self) -> np.ndarray:
        """(*padded, 3) uint8, the picture: its source itself where nothing is to be done to that.

        Raises what reading the source does.
        """
        image = self._image()
        if self.is_source and min(image.strides[:2]) >= 0:
            return image
        canvas = np.empty((*self.padded, 3), np.uint8)
        self._draw(image, canvas)
        return canvas

    def draw(self, canvas: np.ndarray) -> None:
        """Write the picture into `canvas`, (*padded, 3) uint8, whose rows may have gaps between them.

        Raises what reading the source does.
        """
        self._draw(self._image(), canvas)

    @property
    def _has_size(self) -> bool:
        return self.source_size == self.size == self.padded

    def _image(self) -> np.ndarray:
        return self.source if isinstance(self.source, np.ndarray) else self.source()

    def _draw(self, image: np.ndarray, canvas: np.ndarray) -> None:
        if self._has_size:
            right_left, bottom_top = (-1 if mirrored else 1 for mirrored in self.mirrored)
            copy_pixels(image[::bottom_top, ::right_left], canvas)
            return
        height, width = self.size
        resize(image, height, width, self.shrink, out=canvas[:height, :width])
        fill_padding(canvas, self.size, self.pad_value)
        if any(self.mirrored):
            cv2.flip(canvas, _FLIP_CODES[self.mirrored], dst=canvas)


@dataclass(frozen=True, eq=False)
class View:
    """A sample whose picture is not drawn yet: transforms that can do without its pixels pass it on as this."""

    sample: Sample
    """What belongs to the picture: objects, names, scale. Its own image is not the picture."""
    picture: Picture

    @classmethod
    def of(cls, sample: Sample) -> View:
        return cls(sample, Picture.of(sample.image))

    def plain(self) -> Sample:
        """The sample with its picture, drawn, as its image. Raises what reading it does."""
        image = self.picture.pixels()
        return self.sample if image is self.sample.image else replace(self.sample, image=image)

    def settled(self) -> View:
        """The same with a picture to which nothing is to be done: its source draws this one, when it is read."""
        size = self.picture.padded
        return self if self.picture.is_source else View(self.sample, Picture(self.picture.pixels, size, size, size))

    def drawn(self) -> View:
        """The same with its picture drawn, so that nothing is kept of a source that may be far larger."""
        return self if self.picture.is_source else View.of(self.plain())


class OnViews(ABC):
    """A transform that does not look at pixels, so that they need not be there."""

    @abstractmethod
    def as_view(self, view: View, rng: np.random.Generator, others: Sequence[Sample] = ()) -> View:
        """What it makes of a sample, its picture left to be drawn. others: as of a `MixingTransform`."""

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample] = ()) -> Sample:
        return self.as_view(View.of(sample), rng, others).plain()


class ViewSource(ABC):
    """A data set that knows all but the pixels of a sample before its image is read."""

    @abstractmethod
    def view(self, index: int) -> View:
        """A sample whose image is not read before it is drawn."""

    def sample(self, index: int) -> Sample:
        """An image, the objects to train on, and the regions to ignore.

        Raises `UserError` naming the file when it cannot be read, or is not of the size that its annotations are for.
        """
        return self.view(index).plain()


def is_on_views(transform: Any) -> TypeGuard[OnViews]:
    """Whether its `as_view` does what its call does: a class derived from one of ours may have changed that alone."""
    return isinstance(transform, OnViews) and type(transform).__call__ is OnViews.__call__


def has_views(source: Any) -> TypeGuard[ViewSource]:
    """Whether the `view` of a data set is what its `sample` is, as in `is_on_views`."""
    return isinstance(source, ViewSource) and getattr(source.sample, "__func__", None) is ViewSource.sample
