"""What the dense heads share: two towers over every level, classes on the one, boxes and their quality on the other."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from otadet.models.deformable import DeformableConv2d
from otadet.structures import Anchors, Predictions

TOWER_NORMS = ("group", "none")
"""What may follow a convolution of a tower."""


class DenseHead(nn.Module):
    """The towers, the class logits and the optional quality; a subclass adds the boxes (paper, Sec. 4.1).

    A subclass makes its own convolutions and `quality` in `__init__`, and then calls `initialize`.

    Args:
        num_classes: C.
        channels, depth, deformable, norm, bias: of the towers, see `tower`.
        per_location: anchors that share a point; their outputs follow each other in the channels of a convolution.
    """

    quality: nn.Conv2d | None
    """(N, channels, H, W) -> (N, per_location, H, W) IoU or centre-ness logits; None for a head without them."""

    def __init__(
        self,
        num_classes: int,
        channels: int,
        depth: int,
        deformable: bool = False,
        norm: str = "group",
        bias: bool = True,
        per_location: int = 1,
    ) -> None:
        super().__init__()
        self.per_location = per_location
        self.class_tower = tower(channels, depth, deformable, norm, bias)
        self.box_tower = tower(channels, depth, deformable, norm, bias)
        self.logits = nn.Conv2d(channels, num_classes * per_location, 3, padding=1)

    def forward(self, features: Sequence[Tensor], anchors: Anchors) -> Predictions:
        """Feature maps (N, channels, H, W), finest first -> `Predictions` over all their locations."""
        shapes = self.per_location
        logits = torch.cat([flatten(self.logits(self.class_tower(feature)), shapes) for feature in features], 1)
        box_features = [self.box_tower(feature) for feature in features]
        boxes = self.boxes(box_features, anchors)
        if self.quality is None:
            return Predictions(logits, boxes)
        quality = torch.cat([flatten(self.quality(feature), shapes) for feature in box_features], 1).squeeze(-1)
        return Predictions(logits, boxes, quality)

    @abstractmethod
    def boxes(self, features: Sequence[Tensor], anchors: Anchors) -> Tensor:
        """What the box tower made of each level, (N, channels, H, W) -> (N, A, 4) xyxy pixels, in float32."""

    def initialize(self, prior_probability: float) -> None:
        """Convolutions as in RetinaNet: all scores start at the prior probability, so that the background does not
        swamp the first iterations (Lin et al., 2017)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                set_bias(module, 0.0)
        set_bias(self.logits, -math.log((1 - prior_probability) / prior_probability))


def tower(channels: int, depth: int, deformable: bool = False, norm: str = "group", bias: bool = True) -> nn.Sequential:
    """`depth` times 3x3 convolution, GroupNorm in 32 groups (fewer below 64 channels), ReLU.

    Args:
        channels: of the maps.
        depth: number of convolutions.
        deformable: whether the last convolution is a `DeformableConv2d`.
        norm: one of `TOWER_NORMS`; "none" leaves the GroupNorm out.
        bias: whether the convolutions have one.

    Raises `ValueError` for another norm.
    """
    if norm not in TOWER_NORMS:
        raise ValueError(f"norm {norm!r}: choose {' or '.join(map(repr, TOWER_NORMS))}")
    # At least two channels per group: PyTorch refuses to normalise a single value, as a level of 1 x 1 would have.
    groups = math.gcd(32, channels // 2)
    layers: list[nn.Module] = []
    for place in range(depth):
        is_deformable = deformable and place == depth - 1
        layers.append(
            DeformableConv2d(channels, channels, bias=bias)
            if is_deformable
            else nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        )
        layers += [nn.GroupNorm(groups, channels)] if norm == "group" else []
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def set_bias(convolution: nn.Conv2d, value: float) -> None:
    """Fill the bias of a convolution that has one."""
    if convolution.bias is not None:
        nn.init.constant_(convolution.bias, value)


def flatten(feature: Tensor, per_location: int = 1) -> Tensor:
    """(N, per_location * X, H, W) -> (N, H * W * per_location, X)."""
    rows = feature.permute(0, 2, 3, 1).flatten(1, 2)
    return rows if per_location == 1 else rows.unflatten(2, (per_location, -1)).flatten(1, 2)
