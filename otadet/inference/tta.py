"""Multi-scale testing in the form of ATSS (Zhang et al., 2020): an image is looked at in many sizes, and mirrored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import cv2
import numpy as np
import torch
from torch import Tensor

from otadet.boxes import area, clip
from otadet.data.batch import collate
from otadet.data.sample import Sample, unlabelled
from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.errors import UserError
from otadet.inference.input_spec import MAX_SIDE, InputSpec
from otadet.inference.pipeline import Pipeline
from otadet.inference.postprocess import Postprocess
from otadet.limits import Limits, brief
from otadet.part import Part
from otadet.structures import Detections

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


@dataclass(frozen=True)
class AsItIs:
    """What a `MultiScalePipeline` wants an image to be before it makes its views: what it is."""

    views: tuple[View, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result for an image of that size."""
        return height, width

    def needed_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the largest view of an image of that size."""
        sizes = [view.input.resize.needed_size(height, width) for view in self.views]
        return max(size[0] for size in sizes), max(size[1] for size in sizes)


@dataclass(frozen=True)
class MultiScalePipeline(Pipeline):
    """A pipeline that is called with images as they are, neither resized nor padded, and makes the views of them.

    One view is computed at a time, and what is kept of it are the candidates for NMS. With one view it finds what a
    plain pipeline of that input does, to the last bit.
    """

    views: tuple[View, ...]
    flip: bool

    @classmethod
    def of(cls, pipeline: Pipeline, test: MultiScaleTest) -> MultiScalePipeline:
        """Raises `UserError` for views that cannot be had, and where the experiment's own code is in the way."""
        if type(pipeline) is not Pipeline:
            raise UserError(
                f"tta: views are made by a plain Pipeline, and build_pipeline gives a {type(pipeline).__name__}"
            )
        _postprocess_of(pipeline)
        views = test.views(pipeline.input)
        return cls(pipeline.model, pipeline.input, pipeline.postprocess, pipeline.class_names, views, test.flip)

    @property
    def transform(self) -> AsItIs:
        return AsItIs(self.views)

    @property
    def size_divisor(self) -> int:
        return 1

    def __str__(self) -> str:
        mirrored = ", each of them mirrored as well" if self.flip else ""
        return f"multi-scale testing: shorter sides of {', '.join(map(str, self.views))} px{mirrored}"

    @torch.no_grad()
    def __call__(self, images: Tensor, sizes: Sequence[tuple[int, int]] | None = None) -> list[Detections]:
        """Images (N, 3, H, W) uint8 RGB of any size -> one `Detections` per image, in pixels of `images`, best score
        first, on `device`. sizes: those of `images`, which have no padding."""
        return [self._found_in(unlabelled(image.permute(1, 2, 0).contiguous().cpu().numpy())) for image in images]

    def _found_in(self, image: Sample) -> Detections:
        scale = self.views[0].scale_of(image)
        looks = [(image, False)]
        if self.flip:
            looks.append((replace(image, image=cv2.flip(image.image, 1)), True))
        # NMS compares boxes in pixels of the first view, since a plain evaluation with this one rounds them so.
        seen = [self._candidates(view, look, is_mirrored, scale) for view in self.views for look, is_mirrored in looks]
        found = _postprocess_of(self).merge(Detections.joined(seen))
        boxes = found.boxes / found.boxes.new_tensor((*scale, *scale))
        return replace(found, boxes=boxes, vocabulary=self.class_names)

    def _candidates(self, view: View, look: Sample, is_mirrored: bool, wanted: tuple[float, float]) -> Detections:
        """What NMS chooses from of one view, in pixels of an input of the scale `wanted`, (x, y)."""
        sample = view.input.transform(look, np.random.default_rng(0))
        images = collate([sample], view.input.pad_value, self.model.size_divisor).images
        height, width = view.size_of(look)
        postprocess, sizes = _postprocess_of(self), ([(height, width)],)
        (found,) = postprocess.candidates(*self._predict(images), *(sizes if postprocess.clip else ()))
        found = _between(found, view.object_sizes, height, width)
        boxes = found.boxes
        if is_mirrored:
            left, top, right, bottom = boxes.unbind(1)
            boxes = torch.stack((width - right, top, width - left, bottom), dim=1)
        x, y = (one / own for one, own in zip(wanted, view.scale_of(look), strict=True))
        return replace(found, boxes=boxes * boxes.new_tensor((x, y, x, y)))


def _between(found: Detections, sizes: Sizes, height: int, width: int) -> Detections:
    """Those between two sizes, once they are clipped to an image of `height` x `width` pixels."""
    low, high = sizes
    if low == 0 and high is None:
        return found
    size = area(clip(found.boxes, height, width)).sqrt()
    return found[(size > low) & (size < (math.inf if high is None else high))]


def _postprocess_of(pipeline: Pipeline) -> Postprocess:
    """Its postprocessing, in two steps. Raises `UserError` for one of the user's that is one step."""
    own = pipeline.postprocess
    if not isinstance(own, Postprocess) or type(own).__call__ is not Postprocess.__call__:
        name = getattr(own, "__name__", type(own).__name__)
        raise UserError(
            f"tta: what all views found goes through one NMS, and the experiment's {name} has none of its own; take "
            "Postprocess, or derive from it and change `candidates` and `merge` alone"
        )
    return own
