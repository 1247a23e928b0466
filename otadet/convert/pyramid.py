"""What the one-stage detectors of torchvision and Detectron2 share: a ResNet, P3 to P7, and two towers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from otadet.convert.tensors import convolution
from otadet.errors import UserError
from otadet.models.backbones.resnet import depth_of, width_per_group_of

SCALES = tuple(4 * 2 ** (third / 3) for third in range(3))
"""Of the anchor boxes of both RetinaNets, in strides."""
RATIOS = (0.5, 1.0, 2.0)
SHAPES = len(SCALES) * len(RATIOS)
"""Anchor boxes per location of a RetinaNet; others have one."""


@dataclass(frozen=True)
class PyramidLayout:
    """What the tensors say of the network."""

    depth: int
    """Of the ResNet, like the next three."""
    width: int
    groups: int
    width_per_group: int
    channels: int
    """Of the pyramid and the towers."""
    coarse_from: str
    """What P6 is made of: "c5" or "p5"."""
    tower_depth: int
    """Convolutions of each tower of the head."""
    tower_norm: bool
    """Whether a norm follows each of them."""
    tower_bias: bool
    """Whether they have one."""
    num_classes: int
    """Rows of the class layer for each anchor box."""


def pyramid_of(state: Mapping[str, Tensor], boxes: str, path: object, what: str) -> PyramidLayout:
    """The layout that a state dictionary with otadet's names is of.

    Args:
        boxes: name of the layer of the boxes: "head.distances", or "head.deltas" of a RetinaNet.
        what: the networks that it may be of, for messages.

    Raises `UserError`, naming the file, for any other network.
    """
    of_boxes, logits, lateral, p6 = (
        convolution(state, f"{name}.weight", path, what) for name in (boxes, "head.logits", "neck.lateral.0", "neck.p6")
    )
    shapes = SHAPES if boxes == "head.deltas" else 1
    if of_boxes.shape[0] != 4 * shapes or logits.shape[0] % shapes:
        raise UserError(
            f"{path}: has {of_boxes.shape[0] // 4} anchor boxes per location, of {logits.shape[0]} classes together; "
            f"of {what} otadet knows {shapes}, as published"
        )
    tower = [name for name in state if re.match(r"head\.class_tower\.\d+\.weight$", name)]
    convolutions = [name for name in tower if state[name].dim() == 4]
    return PyramidLayout(
        **vars(_resnet_of(state, path, what)),
        channels=lateral.shape[0],
        coarse_from="p5" if p6.shape[1] == lateral.shape[0] else "c5",
        tower_depth=len(convolutions),
        tower_norm=any(state[name].dim() == 1 for name in tower),
        tower_bias=not convolutions or any(name.replace(".weight", ".bias") in state for name in convolutions),
        num_classes=logits.shape[0] // shapes,
    )


@dataclass(frozen=True)
class _ResNet:
    """Fields of the `PyramidLayout` that are about the backbone."""

    depth: int
    width: int
    groups: int
    width_per_group: int


def _resnet_of(state: Mapping[str, Tensor], path: object, what: str) -> _ResNet:
    blocks = [0, 0, 0, 0]
    for name in state:
        if match := re.match(r"backbone\.layer([1-4])\.(\d+)\.conv1\.weight$", name):
            blocks[int(match[1]) - 1] += 1
    depth = depth_of(tuple(blocks), is_bottleneck="backbone.layer1.0.conv3.weight" in state)
    if depth is None:
        raise UserError(f"{path}: its backbone has {blocks} blocks in its stages, as no ResNet of otadet has")
    stem, middle = (convolution(state, f"backbone.{name}.weight", path, what) for name in ("conv1", "layer1.0.conv2"))
    return _ResNet(depth, stem.shape[0], *width_per_group_of(middle, stem.shape[0]))
