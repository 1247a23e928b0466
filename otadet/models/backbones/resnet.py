"""ResNets and ResNeXts from torchvision that return C3, C4 and C5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models import get_model_weights, resnet

from otadet.errors import UserError
from otadet.integers import ceil_div
from otadet.models.backbones.caffe import is_caffe, with_torchvision_names
from otadet.models.backbones.norms import FrozenNorm
from otadet.models.backbones.weights import fetch_state, put_state, read_state
from otadet.models.deformable import DeformableConv2d

_BLOCKS = {
    10: (resnet.BasicBlock, (1, 1, 1, 1)),
    18: (resnet.BasicBlock, (2, 2, 2, 2)),
    26: (resnet.Bottleneck, (2, 2, 2, 2)),
    34: (resnet.BasicBlock, (3, 4, 6, 3)),
    50: (resnet.Bottleneck, (3, 4, 6, 3)),
    101: (resnet.Bottleneck, (3, 4, 23, 3)),
}
_WIDTH = 64
"""Channels of the stem of torchvision's ResNets."""
IMAGENET = (
    *("resnet18", "resnet34", "resnet50", "resnet101"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
)
"""Those that torchvision has weights of, by its names."""


def torchvision_name(depth: int, groups: int = 1, width_per_group: int = _WIDTH) -> str:
    """What torchvision calls such a network, or would call it: "resnet50", "resnext101_64x4d"."""
    if (groups, width_per_group) == (1, _WIDTH):
        return f"resnet{depth}"
    return f"resnext{depth}_{groups}x{width_per_group}d"


def depth_of(blocks: tuple[int, ...], is_bottleneck: bool) -> int | None:
    """The depth of the ResNet with so many blocks in its four stages; None where there is none."""
    block = resnet.Bottleneck if is_bottleneck else resnet.BasicBlock
    return next((depth for depth, layout in _BLOCKS.items() if layout == (block, blocks)), None)


def width_per_group_of(weight: Tensor, width: int) -> tuple[int, int]:
    """`groups` and `width_per_group` of the `ResNet` of that width whose first 3x3 convolution has this weight
    (O, I / groups, 3, 3)."""
    groups = max(1, weight.shape[0] // weight.shape[1])
    return groups, _WIDTH * weight.shape[0] // (groups * width)


def check_layout(depth: int, width: int, groups: int, width_per_group: int, stride_in_1x1: bool = False) -> None:
    """Raise `UserError` where there is no such `ResNet`."""
    if depth not in _BLOCKS:
        raise UserError(f"depth {depth}: there is no such ResNet; choose one of {', '.join(map(str, _BLOCKS))}")
    if _BLOCKS[depth][0] is resnet.BasicBlock and (groups, width_per_group) != (1, _WIDTH):
        deeper = " or ".join(str(other) for other, (block, _) in _BLOCKS.items() if block is resnet.Bottleneck)
        raise UserError(
            f"groups {groups}, width_per_group {width_per_group}: a ResNet of depth {depth} has no blocks with groups; "
            f"choose a depth of {deeper}, or groups 1 and width_per_group {_WIDTH}"
        )
    if stride_in_1x1 and _BLOCKS[depth][0] is resnet.BasicBlock:
        raise UserError(f"stride_in_1x1 true: a ResNet of depth {depth} has no 1x1 convolutions in its blocks")
    if width * width_per_group < _WIDTH:
        raise UserError(
            f"width {width}: leaves no channel in a group of width_per_group {width_per_group}; "
            f"set a width of {ceil_div(_WIDTH, width_per_group)} or more"
        )


class ResNet(resnet.ResNet):
    """torchvision's ResNet without its classifier: (N, 3, H, W) -> C3, C4, C5, of `channels` and `strides`.

    Args:
        depth: number of layers, as published.
        norm_layer: channels -> the norm behind a convolution.
        width: channels of the stem and of the first stage's 3x3 convolutions, doubled by every later stage.
        groups: of the 3x3 convolutions; more than 1 make it a ResNeXt (Xie et al., 2017).
        width_per_group: channels of each group in the first stage, where `width` is 64.

    Raises `UserError` for a network that there is not.
    """

    strides = (8, 16, 32)

    def __init__(
        self,
        depth: int,
        norm_layer: type[nn.Module] = nn.BatchNorm2d,
        width: int = _WIDTH,
        groups: int = 1,
        width_per_group: int = _WIDTH,
    ) -> None:
        check_layout(depth, width, groups, width_per_group)
        block, layers = _BLOCKS[depth]
        self.width = width
        super().__init__(block, list(layers), groups=groups, width_per_group=width_per_group, norm_layer=norm_layer)
        del self.avgpool, self.fc
        if width != _WIDTH:
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.bn1 = norm_layer(width)
        self.channels = tuple(factor * width * block.expansion for factor in (2, 4, 8))

    def _make_layer(self, block: type[nn.Module], planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        if planes == _WIDTH:
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // _WIDTH, *args, **kwargs)

    def stride_in_1x1(self) -> None:
        """Move the stride of each stage from the 3x3 convolution of its first block to the 1x1 before it."""
        for stage in (self.layer2, self.layer3, self.layer4):
            block = stage[0]
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride

    def deform(self, stages: Sequence[int]) -> None:
        """Make the second convolution of each block deformable, which is 3x3, in these stages, 1 to 4; 4 is C5."""
        for stage in stages:
            for block in self.get_submodule(f"layer{stage}").children():
                block.conv2 = DeformableConv2d.like(block.conv2)

    def forward(self, images: Tensor) -> list[Tensor]:
        c2 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return [c3, c4, self.layer4(c4)]


def build_resnet(
    depth: int,
    weights: str | None,
    width: int = _WIDTH,
    *,
    groups: int = 1,
    width_per_group: int = _WIDTH,
    deformable_stages: Sequence[int] = (),
    stride_in_1x1: bool = False,
    frozen: bool | None = None,
) -> ResNet:
    """A `ResNet` for the detector: images (N, 3, H, W) -> C3, C4, C5.

    Args:
        depth, width, groups, width_per_group: as of `ResNet`.
        weights: "imagenet" (torchvision's IMAGENET1K_V1, fetched once), the path of a file with such a state
            dictionary, or None.
        deformable_stages: as of `deform`; what makes their convolutions deformable starts at zero.
        stride_in_1x1: whether the stride of a stage is in the first convolution of a block rather than in the second.
        frozen: whether BatchNorm, the stem and the first stage stay as they are (the paper's setting, Sec. 4.1), where
            else everything trains; None: those of a pretrained network do.

    Raises `UserError` for a file that cannot be used.
    """
    if weights is not None and width != _WIDTH:
        raise UserError(f"width {width}: pretrained weights are those of width {_WIDTH}; set backbone.weights none")
    frozen = weights is not None if frozen is None else frozen
    norm = FrozenNorm if frozen else nn.BatchNorm2d
    network = ResNet(depth, norm, width, groups, width_per_group)
    if stride_in_1x1:
        network.stride_in_1x1()
    if weights is not None:
        _load(network, weights, torchvision_name(depth, groups, width_per_group))
    if frozen:
        for part in (network.conv1, network.bn1, network.layer1):
            part.requires_grad_(False)
    network.deform(deformable_stages)
    return network


def _load(network: ResNet, weights: str, name: str) -> None:
    """name: torchvision's of the network."""
    state = _download_imagenet(name) if weights == "imagenet" else read_state(weights)
    if is_caffe(state):
        _check_strides(network, weights)
        state = with_torchvision_names(state)
    put_state(network, state, f"weights {weights}", f"a {name}", "torchvision's names")


def _check_strides(network: ResNet, weights: str) -> None:
    """Raise `UserError` where the strides are not those of Caffe2's file: no tensor says where they are."""
    first = network.layer2[0]
    is_bottleneck = isinstance(first, resnet.Bottleneck)
    is_original = is_bottleneck and first.conv2.groups == 1
    if (is_bottleneck and first.conv1.stride == (2, 2)) != is_original:
        said, pixels = ("true", "1,1,1") if is_original else ("false", "58.395,57.12,57.375")
        raise UserError(
            f"weights {weights}: by their names Caffe2's, which have other strides: set stride_in_1x1 {said}, and "
            f"input.std {pixels}, as they were trained"
        )


def _download_imagenet(name: str) -> dict[str, Tensor]:
    check_imagenet(name)
    return fetch_state(get_model_weights(name).IMAGENET1K_V1.url)


def check_imagenet(name: str) -> None:
    """Raise `UserError` where torchvision has no weights of the network that it would call so."""
    if name not in IMAGENET:
        raise UserError(
            f"weights imagenet: torchvision has none for a {name}, but for {', '.join(IMAGENET)}; use one of these, or "
            "backbone.weights none"
        )
