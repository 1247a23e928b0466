"""The sizes at which multi-scale testing looks at an image, in the form of ATSS (Zhang et al., 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

from otadet.data.sample import Sample
from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.errors import UserError
from otadet.inference.input_spec import MAX_SIDE, InputSpec
from otadet.limits import Limits, brief
from otadet.part import Part

Sizes = tuple[float, float | None]
"""The objects between two sizes, a size being the root of the area in pixels of a view; None: there is no largest."""
_SHORT, _LONG, _LONG_ENLARGED = 800, 1333, 3000
"""Pixels of ATSS's own input, the most of its longer side, and the most of that in the larger views."""
_ATSS: dict[int, Sizes] = {
    _SHORT: (0.0, None),
    **dict.fromkeys((400, 500), (96.0, None)),
    **dict.fromkeys((600, 640, 700), (64.0, None)),
    **dict.fromkeys((900, 1000), (0.0, None)),
    **dict.fromkeys((1100, 1200), (0.0, 256.0)),
    **dict.fromkeys((1300, 1400), (0.0, 192.0)),
    1800: (0.0, 96.0),
}
"""ATSS's configuration: pixels of the shorter side -> the objects that this view answers for."""
_MOST_SCALES, _LARGEST = 100, 10**6


@dataclass(frozen=True)
class View:
    """A size at which an image is looked at."""

    scale: int
    """Pixels of the shorter side."""
    input: InputSpec
    """That of the network, which resizes to this size."""
    object_sizes: Sizes

    def size_of(self, image: Sample) -> tuple[int, int]:
        """(height, width) of an image in it, without the padding."""
        height, width = image.image.shape[:2]
        return self.input.resize.needed_size(height, width)

    def scale_of(self, image: Sample) -> tuple[float, float]:
        """(x, y) pixels in it per pixel of the image, as `Sample.scale` has them."""
        height, width = self.size_of(image)
        return width / image.image.shape[1], height / image.image.shape[0]

    def __str__(self) -> str:
        low, high = self.object_sizes
        ends = ([f"above {low:.0f}"] if low else []) + ([f"below {high:.0f}"] if high is not None else [])
        return f"{self.scale} (objects {' and '.join(ends)})" if ends else str(self.scale)


@dataclass(frozen=True)
class MultiScaleTest(Part):
    """The sizes at which `--tta` looks at each image, and the objects that each of them answers for.

    What all of them find goes through the experiment's NMS together; there is no voting. A scale is what the shorter
    side of the input has in pixels: that of the resized image, or of the letterbox.
    """

    scales: tuple[Annotated[int, Limits(1, MAX_SIDE)], ...] | None = None
    """None: the experiment's own, and ATSS's twelve from 1/2 to 2.25 times that."""
    object_sizes: tuple[Sizes, ...] | None = None
    """Per scale, the sizes between which what is found there counts: roots of areas in pixels of the input of that
    scale, such as `tta.object_sizes 96-,0-,0-256`. None: those of the nearest of ATSS's scales, all of them in
    proportion to the experiment's own."""
    flip: bool = True
    """Whether each view is looked at mirrored left-right, too."""
    longest: Annotated[int, Limits(1, MAX_SIDE)] | None = None
    """Most pixels of the longer side in any view, where the experiment has no letterbox. None: the experiment's own
    `max_size`, and 3000/1333 of that in the larger views, as in ATSS."""

    def check(self) -> None:
        scales = tuple(_ATSS) if self.scales is None else self.scales
        if not 1 <= len(scales) <= _MOST_SCALES:
            raise UserError(f"scales: there are {len(scales)}; give from 1 to {_MOST_SCALES}, such as 800")
        if twice := [scale for place, scale in enumerate(scales) if scale in scales[:place]]:
            raise UserError(f"scales: {twice[0]} is there twice")
        if self.object_sizes is not None and len(self.object_sizes) != len(scales):
            raise UserError(f"object_sizes: there are {len(self.object_sizes)} for {len(scales)} scales; give one each")
        for low, high in self.object_sizes or ():
            if not 0 <= low < (_LARGEST if high is None else high) <= _LARGEST:
                shown = f"{brief(low)}-{'' if high is None else brief(high)}"
                raise UserError(f"object_sizes {shown}: must be two from 0 to {_LARGEST:,}, the smaller one first")

    def views(self, own: InputSpec) -> tuple[View, ...]:
        """The views of a network whose plain evaluation has the input `own`.

        Raises `UserError`, naming the field, for a scale that cannot be had.
        """
        short, is_letterbox = _shorter_side(own), isinstance(own.resize, Letterbox)
        scales = self.scales or tuple(max(1, round(short * scale / _SHORT)) for scale in _ATSS)
        if self.longest is not None and (is_letterbox or self.longest < max(scales)):
            too_small = f"is below the scale {max(scales)}; set tta.scales, too"
            why = "a letterbox has no other limit than its scale" if is_letterbox else too_small
            raise UserError(f"tta.longest {self.longest}: {why}")
        sizes = self.object_sizes or tuple(_atss_sizes(scale, short) for scale in scales)
        return tuple(View(scale, self._input(own, scale), wanted) for scale, wanted in zip(scales, sizes, strict=True))

    def _input(self, own: InputSpec, scale: int) -> InputSpec:
        try:
            return replace(own, resize=self._resize(own, scale))
        except UserError as error:
            raise UserError(f"tta.scales {scale}: {error}") from error

    def _resize(self, own: InputSpec, scale: int) -> Letterbox | ResizeShortestEdge:
        resize = own.resize
        if isinstance(resize, Letterbox):
            height, width = (max(1, round(side * scale / _shorter_side(own))) for side in resize.size)
            return replace(resize, size=(height, width))
        return replace(resize, sizes=(scale,), max_size=self.longest or _longest(resize, scale))


def _shorter_side(own: InputSpec) -> int:
    return min(own.resize.size) if isinstance(own.resize, Letterbox) else own.resize.sizes[0]


def _longest(own: ResizeShortestEdge, scale: int) -> int:
    enlarged = max(_LONG_ENLARGED / _LONG, scale / own.sizes[0])
    return own.max_size if scale <= own.sizes[0] else round(own.max_size * enlarged)


def _atss_sizes(scale: int, short: int) -> Sizes:
    """Of the nearest of its scales, where the experiment's own shorter side is `short`."""
    low, high = _ATSS[min(_ATSS, key=lambda one: abs(math.log(scale / short * _SHORT / one)))]
    return low * short / _SHORT, None if high is None else high * short / _SHORT
