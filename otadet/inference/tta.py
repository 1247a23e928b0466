"""Multi-scale testing: an image is looked at in many sizes, and mirrored; what is found goes through one NMS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from otadet.boxes import area, clip
from otadet.data.batch import collate
from otadet.data.sample import Sample, unlabelled
from otadet.errors import UserError
from otadet.inference.pipeline import Pipeline
from otadet.inference.postprocess import Postprocess
from otadet.inference.views import MultiScaleTest, Sizes, View
from otadet.structures import Detections


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
