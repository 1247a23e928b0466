"""From pixels to detections: the one way that prediction, evaluation and export share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from otadet.boxes import clip
from otadet.data.sample import Transform
from otadet.inference.input_spec import InputSpec
from otadet.inference.postprocess import Postprocess
from otadet.models.detector import Detector
from otadet.models.normalize import PixelNorm
from otadet.structures import Anchors, Detections, Predictions


class PixelDetector(Protocol):
    """What finds objects in pixels: a `Pipeline`, or an exported file."""

    @property
    def device(self) -> torch.device:
        """Where it computes, or where its images are to be."""

    @property
    def transform(self) -> Transform:
        """What makes of an image what this is called with, but for the padding."""

    @property
    def pad_value(self) -> tuple[int, int, int]:
        """RGB of the padding, 0-255."""

    @property
    def size_divisor(self) -> int:
        """What the sides of its images are padded to multiples of."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""

    def __call__(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """As of `Pipeline`."""


@dataclass(frozen=True)
class Pipeline:
    """All that stands between pixels and detections.

    Calling it finds what is in a batch; `Predictor` calls it with images of any size, `evaluate` with a data set, and
    `export_onnx` writes it into a file.
    """

    model: Detector
    """Or a network of yours that is called like one and has its `strides` and `size_divisor`."""
    input: InputSpec
    postprocess: Callable[[Predictions, Anchors], list[Detections]]
    """A `Postprocess`, or a function of yours with the same result."""
    class_names: tuple[str, ...]
    """C of them."""
    _normalize: PixelNorm = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        # Made once, as numbers that are copied to a GPU in every call would make the host wait for it.
        object.__setattr__(self, "_normalize", self.input.pixel_norm().to(self.device))

    @property
    def transform(self) -> Transform:
        """What makes of an image what this is called with, but for the padding."""
        return self.input.transform

    @property
    def pad_value(self) -> tuple[int, int, int]:
        """RGB of the padding, 0-255."""
        return self.input.pad_value

    @property
    def size_divisor(self) -> int:
        """What the sides of its images are padded to multiples of."""
        return self.model.size_divisor

    @property
    def device(self) -> torch.device:
        """Where the network is; the CPU for one without weights."""
        tensor = next(chain(self.model.parameters(), self.model.buffers()), None)
        return torch.device("cpu") if tensor is None else tensor.device

    def to(self, device: torch.device | str) -> Pipeline:
        """The same with its network, which is moved, on `device`."""
        return replace(self, model=self.model.to(device))

    @torch.no_grad()
    def __call__(self, images: Tensor, sizes: Sequence[tuple[int, int]] | None = None) -> list[Detections]:
        """Images (N, 3, H, W) uint8 RGB as `transform` makes them, H and W multiples of `size_divisor` -> one
        `Detections` per image, in pixels of `images`, best score first, on `device`.

        sizes: N (height, width) of the images without their padding, in pixels; None: they have none.
        """
        predictions, anchors = self._predict(images)
        if isinstance(self.postprocess, Postprocess) and self.postprocess.clip:
            whole = (images.shape[-2], images.shape[-1])
            found_in_each = self.postprocess(predictions, anchors, [whole] * len(images) if sizes is None else sizes)
        else:
            found_in_each = self.postprocess(predictions, anchors)
        return [replace(found, vocabulary=self.class_names) for found in found_in_each]

    def _predict(self, images: Tensor) -> tuple[Predictions, Anchors]:
        return self.model(self._normalize(images.to(self.device, non_blocking=True)))


def size_in_input(scale: tuple[float, float], size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) that an image has in the network's input, without padding; the arguments are `to_image`'s."""
    return round(size[0] * scale[1]), round(size[1] * scale[0])


def to_image(found: Detections, scale: tuple[float, float], size: tuple[int, int]) -> Detections:
    """Boxes in pixels of a network's input -> in pixels of the image itself, on the CPU.

    They are clipped to the image, and those that have no size then are left out: what is found in the padding alone is
    nothing.

    Args:
        scale: (x, y) pixels of the input per pixel of the image; `scale` of `Sample` and `Batch`.
        size: (height, width) of the image.
    """
    found = found.to("cpu")
    boxes = clip(found.boxes / found.boxes.new_tensor((*scale, *scale)), *size)
    return replace(found, boxes=boxes)[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)]
