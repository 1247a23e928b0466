"""The network: images -> predictions on a grid of anchors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from otadet.errors import UserError
from otadet.integers import ceil_div
from otadet.models.anchors import AnchorGrid
from otadet.structures import Anchors, Predictions


class Detector(nn.Module):
    """Backbone, neck and dense head. It returns the same in training and evaluation, and knows nothing of losses.

    It is the one place that says the strides, from which loaders, assigners and exported files have them.

    Args:
        backbone: images (N, 3, H, W) -> feature maps, finest first. As in timm it has `channels` and `strides`, a
            number per map: how many channels it has, and how many pixels of the image lie between two of its cells.
        neck: these maps -> those of the pyramid, finest first, with the `strides` of the pyramid.
        head: (feature maps of the pyramid, `Anchors`) -> `Predictions`.
        anchor_offset, anchor_scales, aspect_ratios, whole_pixels: of the anchor points and boxes, see `AnchorGrid`.
    """

    strides: tuple[int, ...]
    """Pixels between neighbouring points of each level, finest first. A map has ceil(side / stride) cells per side."""
    size_divisor: int
    """Height and width of the images must be multiples of it, so that every map of the backbone covers all of them."""

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        head: nn.Module,
        *,
        anchor_offset: float = 0.5,
        anchor_scales: Sequence[float] = (8.0,),
        aspect_ratios: Sequence[float] = (1.0,),
        whole_pixels: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.strides = _said_strides(neck)
        self.size_divisor = math.lcm(*_said_strides(backbone))
        self.anchor_grid = AnchorGrid(
            self.strides, anchor_scales, anchor_offset, aspect_ratios=aspect_ratios, whole_pixels=whole_pixels
        )

    @property
    def anchors_per_location(self) -> int:
        """Anchors that share a point."""
        return self.anchor_grid.per_location

    def forward(self, images: Tensor) -> tuple[Predictions, Anchors]:
        """Normalised images (N, 3, H, W), H and W multiples of `size_divisor` -> predictions in their pixels, and the
        anchors. Raises `UserError` where the maps do not have the strides that the neck says."""
        features = self.neck(self.backbone(images))
        anchors = self.anchor_grid(features, images.shape[-2:])
        # A graph that is being traced may have sides that are no numbers yet.
        if not torch.compiler.is_compiling():
            self._check_sizes(images, anchors)
        return self.head(features, anchors), anchors

    def _check_sizes(self, images: Tensor, anchors: Anchors) -> None:
        height, width = images.shape[-2:]
        expected = tuple((ceil_div(height, stride), ceil_div(width, stride)) for stride in self.strides)
        if anchors.level_sizes != expected:
            raise UserError(
                f"the strides {self.strides} of {type(self.neck).__name__} make levels of {expected} points for an "
                f"image of {height} x {width}, but its maps have {anchors.level_sizes}; are the strides those of the "
                f"network, and the image's sides multiples of {self.size_divisor}?"
            )


def _said_strides(part: nn.Module) -> tuple[int, ...]:
    strides = getattr(part, "strides", None)
    if not isinstance(strides, tuple | list) or not strides or not all(type(s) is int and s > 0 for s in strides):
        raise UserError(
            f"{type(part).__name__}: a backbone, a neck and a network have `strides`, the pixels per cell of each of "
            f"their maps, such as (8, 16, 32); this one has {strides!r}"
        )
    return tuple(strides)


def as_detector(network: nn.Module) -> Detector:
    """`network`, a `Detector` or a network of yours that is called like one and says the same of itself.

    Raises `UserError` where it has no `strides` or `size_divisor`.
    """
    if isinstance(network, Detector):
        return network
    _said_strides(network)
    divisor = getattr(network, "size_divisor", None)
    if type(divisor) is not int or divisor < 1:
        raise UserError(
            f"{type(network).__name__}: a network has a `size_divisor`, the pixels that the sides of its images must "
            f"be multiples of, such as 32; this one has {divisor!r}"
        )
    return cast("Detector", network)
