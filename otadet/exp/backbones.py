"""Parts that build backbones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeVar, get_args

from otadet import models
from otadet.errors import UserError
from otadet.limits import Limits
from otadet.models import build_resnet
from otadet.models.backbones.foreign import ForeignBackbone
from otadet.models.backbones.normalization import IMAGENET, Normalization
from otadet.models.backbones.resnet import check_imagenet, check_layout, torchvision_name
from otadet.models.backbones.timm import build_timm, check_timm_name, timm_normalization
from otadet.models.backbones.torchvision import build_torchvision, check_torchvision_name, torchvision_normalization
from otadet.part import Part

T = TypeVar("T", bound="ForeignPart")


@dataclass(frozen=True)
class ResNet(Part):
    """A ResNet or ResNeXt; pretrained, its norms, its stem and its first stage are frozen (Sec. 4.1).

    `ResNet(101, groups=64, width_per_group=4)` is the ResNeXt-101 64x4d of Tab. 5.
    """

    depth: Literal[10, 18, 26, 34, 50, 101] = 50
    width: Annotated[int, Limits(1, 4_096)] = 64
    """Channels of the stem and the first stage; others than 64 only without weights."""
    weights: str | None = "imagenet"
    """"imagenet", a file with torchvision's names or Caffe2's (`R-50.pkl` of MSRA), or None to train from scratch."""
    groups: Annotated[int, Limits(1, 1_024)] = 1
    """Of the 3x3 convolutions; more than 1 make it a ResNeXt, of depth 26, 50 or 101."""
    width_per_group: Annotated[int, Limits(1, 4_096)] = 64
    """Channels of each group in the first stage, doubled by every later one."""
    deformable_stages: tuple[Annotated[int, Limits(2, 4)], ...] = ()
    """Stages with deformable 3x3 convolutions, which start at half of their output: (3, 4) are C4 and C5 (Tab. 5)."""
    stride_in_1x1: bool = False
    """Whether blocks that halve the map do so in their first convolution, as the original ResNets, whose weights
    Detectron2 and the released OTA start from; torchvision's do so in the 3x3."""
    frozen: bool | None = None
    """Whether norms, stem and first stage stay as they are; None: where there are weights."""

    def check(self) -> None:
        if self.weights is not None and self.width != 64:
            raise UserError(f"width {self.width}: pretrained weights are those of width 64; set backbone.weights none")
        if self.weights == "imagenet":
            check_imagenet(torchvision_name(self.depth, self.groups, self.width_per_group))
        check_layout(self.depth, self.width, self.groups, self.width_per_group, self.stride_in_1x1)

    def build(self) -> models.ResNet:
        """Images (N, 3, H, W) -> C3, C4, C5. Raises `UserError` for weights that cannot be used."""
        return build_resnet(
            self.depth,
            self.weights,
            self.width,
            groups=self.groups,
            width_per_group=self.width_per_group,
            deformable_stages=self.deformable_stages,
            stride_in_1x1=self.stride_in_1x1,
            frozen=_is_frozen(self.weights, self.frozen),
        )

    def without_weights(self) -> ResNet:
        """The same network without pretrained weights; a checkpoint is about to replace all of them."""
        if self.weights is None:
            return self
        return replace(self, weights=None, frozen=_is_frozen(self.weights, self.frozen))

    def unread(self) -> ResNet:
        """The same network, frozen like a pretrained one, for a training whose checkpoint replaces all weights."""
        # A subclass may build something else.
        return self.without_weights() if type(self) in OWN else self

    def normalization(self) -> Normalization | None:
        """What its weights were trained on, where that is known."""
        return IMAGENET if self.weights == "imagenet" else None


@dataclass(frozen=True)
class ForeignPart(Part):
    """What builds a network of another package, by its name.

    Its weights were trained on pixels of a certain mean and deviation, which the experiment's input must have.
    """

    name: str
    """As the package calls it."""
    weights: str | None = "imagenet"
    """"imagenet", those that the package has of it; a file of such a network, `.pth` or `.safetensors`; or None to
    train from scratch."""
    frozen_norms: bool | None = None
    """Whether its batch norms stay as they are; None: where there are weights."""

    @property
    def freezes_norms(self) -> bool:
        """Whether its batch norms stay as they are."""
        return _is_frozen(self.weights, self.frozen_norms)

    def without_weights(self: T) -> T:
        """The same network without pretrained weights; a checkpoint is about to replace all of them."""
        return self if self.weights is None else replace(self, weights=None, frozen_norms=self.freezes_norms)

    def unread(self: T) -> T:
        """As of a `ResNet`."""
        return self.without_weights() if type(self) in OWN else self


@dataclass(frozen=True)
class TimmBackbone(ForeignPart):
    """Any network of timm that has maps of strides 8, 16 and 32, by its name; needs `pip install "otadet[timm]"`."""

    name: str = "efficientnet_lite0"
    """As timm calls it, and after a dot, where there are several, which weights: "resnet18.a1_in1k". They need not be
    of ImageNet alone."""

    def check(self) -> None:
        check_timm_name(self.name)

    def build(self) -> ForeignBackbone:
        """Images (N, 3, H, W) -> C3, C4, C5. Raises `UserError` as `build_timm` does."""
        return build_timm(self.name, self.weights, frozen_norms=self.freezes_norms)

    def normalization(self) -> Normalization | None:
        """What its weights were trained on, where that is known."""
        return timm_normalization(self.name) if self.weights == "imagenet" else None


@dataclass(frozen=True)
class TorchvisionBackbone(ForeignPart):
    """Any classifier of torchvision that has maps of strides 8, 16 and 32, by its name.

    ResNets have a part of their own.
    """

    name: str = "mobilenet_v3_large"
    """As torchvision calls it."""

    def check(self) -> None:
        check_torchvision_name(self.name)

    def build(self) -> ForeignBackbone:
        """Images (N, 3, H, W) -> C3, C4, C5. Raises `UserError` as `build_torchvision` does."""
        return build_torchvision(self.name, self.weights, frozen_norms=self.freezes_norms)

    def normalization(self) -> Normalization | None:
        """What its weights were trained on, where that is known."""
        return torchvision_normalization(self.name) if self.weights == "imagenet" else None


Backbone = ResNet | TimmBackbone | TorchvisionBackbone
"""The parts that a family of detectors may have as its backbone; a part of one's own may take their place."""
OWN = get_args(Backbone)


def _is_frozen(weights: str | None, frozen: bool | None) -> bool:
    return weights is not None if frozen is None else frozen
