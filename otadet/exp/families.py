"""Parts that build networks: families of detectors."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from torch import nn

from otadet.convert.pyramid import RATIOS, SCALES
from otadet.errors import UserError
from otadet.exp.backbones import Backbone, ResNet
from otadet.exp.start import start
from otadet.limits import Limits
from otadet.models import FPN, PAFPN, CSPDarknet, Detector, FCOSHead, RetinaNetHead, YOLOXHead
from otadet.models.heads.retinanet import ONES
from otadet.part import Part

Quality = Literal["iou", "centerness"] | None
"""What an auxiliary branch of a `DenseFamily` predicts; None: there is no branch."""
_DELTA = Annotated[float, Limits(0, 1e3, open_low=True)]
SQUARE = (8.0,)
"""The side of the paper's anchor boxes, in strides."""
MOST_SHAPES = 64
"""Anchor boxes per location."""


@dataclass(frozen=True)
class DenseFamily(Part):
    """What FCOS and RetinaNet share: a backbone, P3 to P7, and two towers that all levels share.

    Another family is a dataclass with `build(num_classes) -> Detector`, `without_weights()` and a field `quality`.
    Another backbone is a dataclass with `build()`, whose result says its `channels` and `strides`; `without_weights()`
    is what it has where it reads or downloads any, and `normalization()` where it knows what these were trained on.
    """

    backbone: Backbone = ResNet()
    quality: Quality = "iou"
    """What the auxiliary branch predicts: the box's IoU, FCOS's centre-ness, or None for no branch."""
    channels: Annotated[int, Limits(2, 16_384)] = 256
    """Of the pyramid and the towers; even, for GroupNorm."""
    tower_depth: Annotated[int, Limits(0, 64)] = 4
    """3x3 convolutions in each tower."""
    deformable_towers: bool = False
    """Whether the last convolution of each tower is deformable (Tab. 5)."""
    tower_norm: Literal["group", "none"] = "group"
    """What follows each convolution of the towers: a GroupNorm, or nothing, as in the original RetinaNet."""
    tower_bias: bool = True
    """Whether the convolutions of the towers have a bias."""
    prior_probability: Annotated[float, Limits(0, 1, open_low=True, open_high=True)] = 0.01
    """Class score of an untrained head, in 0-1."""
    coarse_from: Literal["p5", "c5"] = "p5"
    """What P6 is made from; "c5" is RetinaNet's."""
    anchor_offset: Annotated[float, Limits(0, 1, open_high=True)] = 0.0
    """Of the points from the corners of their cells, in strides; 0.5: in the middle."""
    whole_pixels: bool = False
    """Whether anchor boxes and the distances of the points are whole pixels, rounded as in torchvision."""
    weights: str | None = None
    """A checkpoint of this layout to start from, all but its class layer: a file, or a published name. Those of the
    backbone are not read then. "torchvision-fcos-r50" is of the layout `FCOS.torchvision()`."""

    def check(self) -> None:
        if self.channels % 2:
            raise UserError(f"channels {self.channels}: must be even, for GroupNorm")
        if self.deformable_towers and not self.tower_depth:
            raise UserError("deformable_towers true: towers of tower_depth 0 have no convolution")

    def build(self, num_classes: int) -> Detector:
        """The network with its initial weights. Raises `UserError` for pretrained weights that cannot be used."""
        backbone = (self if self.weights is None else self.unread()).backbone.build()
        neck = FPN(backbone.channels, backbone.strides, self.channels, self.coarse_from)
        head = self.build_head(num_classes, len(neck.strides))
        scales, ratios = self.anchor_shapes
        detector = Detector(
            backbone,
            neck,
            head,
            anchor_offset=self.anchor_offset,
            anchor_scales=scales,
            aspect_ratios=ratios,
            whole_pixels=self.whole_pixels,
        )
        if self.weights is not None:
            start(detector, self.weights)
        return detector

    @property
    def anchor_shapes(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Scales, in strides, and aspect ratios of the anchor boxes of each location."""
        return SQUARE, (1.0,)

    @abstractmethod
    def build_head(self, num_classes: int, levels: int) -> nn.Module:
        """The head for this many classes, over so many levels of the pyramid."""

    def without_weights(self) -> Any:
        """The same network without pretrained weights; a checkpoint is about to replace all of them."""
        return _by_backbone(replace(self, weights=None), "without_weights")

    def unread(self) -> Any:
        """The same network, whose backbone does not read pretrained weights, and trains as if it had."""
        return _by_backbone(self, "unread")


def _by_backbone(family: Any, change: str) -> Any:
    """The family with what that method makes of its backbone, where it has one of this name."""
    method = getattr(family.backbone, change, None)
    return family if method is None else replace(family, backbone=method())


@dataclass(frozen=True)
class FCOS(DenseFamily):
    """FCOS (Tian et al., 2019): boxes as distances from a point. The defaults are the paper's."""

    level_scales: bool = True
    """Whether each level learns a scale of its distances; torchvision's has none."""

    @classmethod
    def torchvision(cls, weights: str | None = None) -> FCOS:
        """The layout of torchvision's `fcos_resnet50_fpn`, published as "torchvision-fcos-r50"."""
        return cls(
            ResNet(50, weights=None), quality="centerness", level_scales=False, whole_pixels=True, weights=weights
        )

    def build_head(self, num_classes: int, levels: int) -> FCOSHead:
        return FCOSHead(
            num_classes,
            self.channels,
            self.tower_depth,
            levels=levels,
            prior_probability=self.prior_probability,
            quality=self.quality is not None,
            deformable=self.deformable_towers,
            norm=self.tower_norm,
            bias=self.tower_bias,
            level_scales=self.level_scales,
        )


@dataclass(frozen=True)
class RetinaNet(DenseFamily):
    """RetinaNet (Lin et al., 2017): boxes as deltas from anchor boxes, by default one square per location (Tab. 1).

    The original has nine: `anchor_scales` 4, 5.04, 6.35, four strides times 1, 2^(1/3), 2^(2/3), and `aspect_ratios`
    0.5, 1, 2.
    """

    anchor_scales: tuple[Annotated[float, Limits(0, 1_000, open_low=True)], ...] = SQUARE
    """Sides of the square anchor boxes, in strides; the roots of the areas of the others."""
    aspect_ratios: tuple[Annotated[float, Limits(0, 1_000, open_low=True)], ...] = (1.0,)
    """Heights of the anchor boxes by their widths; each location has all scales of each."""
    delta_weights: tuple[_DELTA, _DELTA, _DELTA, _DELTA] = ONES
    """What dx, dy, dw, dh of a box are divided by before they are decoded."""

    @classmethod
    def torchvision(cls, weights: str | None = None, *, v2: bool = False) -> RetinaNet:
        """The layout of torchvision's `retinanet_resnet50_fpn`, published as "torchvision-retinanet-r50".

        v2: of its `retinanet_resnet50_fpn_v2`, published as "torchvision-retinanet-r50-v2".
        """
        return cls(
            ResNet(50, weights=None),
            quality=None,
            coarse_from="c5" if v2 else "p5",
            tower_norm="group" if v2 else "none",
            tower_bias=not v2,
            anchor_scales=SCALES,
            aspect_ratios=RATIOS,
            whole_pixels=True,
            weights=weights,
        )

    def check(self) -> None:
        super().check()
        for name in ("anchor_scales", "aspect_ratios"):
            if not getattr(self, name):
                raise UserError(f"{name} (): needs at least one")
        shapes = len(self.anchor_scales) * len(self.aspect_ratios)
        if shapes > MOST_SHAPES:
            raise UserError(
                f"anchor_scales, aspect_ratios: {shapes} anchor boxes per location; at most {MOST_SHAPES} are possible"
            )

    @property
    def anchor_shapes(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.anchor_scales, self.aspect_ratios

    def build_head(self, num_classes: int, levels: int) -> RetinaNetHead:
        return RetinaNetHead(
            num_classes,
            self.channels,
            self.tower_depth,
            prior_probability=self.prior_probability,
            quality=self.quality is not None,
            deformable=self.deformable_towers,
            norm=self.tower_norm,
            bias=self.tower_bias,
            per_location=len(self.anchor_scales) * len(self.aspect_ratios),
            delta_weights=self.delta_weights,
        )


@dataclass(frozen=True)
class YOLOX(Part):
    """A backbone, PAFPN and a decoupled head with an objectness, strides 8 to 32 (Ge et al., 2021).

    As published: nano depth 0.33, width 0.25, depthwise; tiny 0.33, 0.375; s 0.33, 0.5; m 0.67, 0.75; l 1, 1; x 1.33,
    1.25.
    """

    depth: Annotated[float, Limits(0, 4, open_low=True)] = 0.33
    """Times as many bottlenecks as in l."""
    width: Annotated[float, Limits(0.03125, 8)] = 0.5
    """Times as many channels as in l."""
    depthwise: bool = False
    """With separable 3x3 convolutions."""
    prior_probability: Annotated[float, Limits(0, 1, open_low=True, open_high=True)] = 0.01
    """Class score and objectness of an untrained head, in 0-1."""
    weights: str | None = None
    """A checkpoint of this layout to start from, all but its class layer: a file, or a published name: "yolox-nano"."""
    backbone: Backbone | None = None
    """None: CSPDarknet, of `depth` and `width`, which are otherwise those of neck and head alone."""

    @property
    def quality(self) -> Literal["objectness"]:
        """What the auxiliary branch predicts: whether there is an object at all."""
        return "objectness"

    def build(self, num_classes: int) -> Detector:
        """The network with its initial weights. Raises `UserError` for weights that cannot be used."""
        backbone = self._build_backbone()
        neck = PAFPN(backbone.channels, backbone.strides, self.depth, depthwise=self.depthwise)
        head = YOLOXHead(
            num_classes,
            neck.channels,
            int(256 * self.width),
            depthwise=self.depthwise,
            prior_probability=self.prior_probability,
        )
        detector = Detector(backbone, neck, head)
        if self.weights is not None:
            start(detector, self.weights)
        return detector

    def _build_backbone(self) -> Any:
        if self.backbone is not None:
            return self.backbone.build()
        return CSPDarknet(self.depth, self.width, depthwise=self.depthwise)

    def without_weights(self) -> YOLOX:
        """The same network from scratch."""
        return _by_backbone(replace(self, weights=None), "without_weights")

    def unread(self) -> YOLOX:
        """As of an `FCOS`."""
        return _by_backbone(self, "unread")
