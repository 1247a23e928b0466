"""YOLOX's decoupled head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from otadet.models.csp import ConvBlock, conv3x3
from otadet.models.heads.common import flatten, set_bias
from otadet.structures import Anchors, Predictions

LARGEST_LOG_SIDE = 20.0
"""Of a side in strides: exp of more would soon be infinite."""


class YOLOXHead(nn.Module):
    """Per level a stem and two towers of its own: classes on the one, boxes and objectness on the other (Ge et al.,
    2021). The objectness is the `quality` of the predictions.

    A box is `centre + (xy - 0.5) stride` from the centre of its cell, and `exp(wh) stride` wide and high.

    Args:
        num_classes: C.
        in_channels: of each map of the pyramid, finest first.
        channels: of the stems and the towers.
        depthwise: with separable 3x3 convolutions.
        prior_probability: of every class, and of an object, at the start.
        anchor_offset: of the points from the corners of their cells, in strides.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int],
        channels: int,
        *,
        depthwise: bool = False,
        prior_probability: float = 0.01,
        anchor_offset: float = 0.5,
    ) -> None:
        super().__init__()
        self.anchor_offset = anchor_offset
        levels = len(in_channels)
        self.stems = nn.ModuleList(ConvBlock(inputs, channels, 1) for inputs in in_channels)
        self.class_towers = nn.ModuleList(_tower(channels, depthwise) for _ in range(levels))
        self.box_towers = nn.ModuleList(_tower(channels, depthwise) for _ in range(levels))
        self.logits = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for _ in range(levels))
        self.boxes = nn.ModuleList(nn.Conv2d(channels, 4, 1) for _ in range(levels))
        self.quality = nn.ModuleList(nn.Conv2d(channels, 1, 1) for _ in range(levels))
        for convolution in (*self.logits, *self.quality):
            set_bias(convolution, -math.log((1 - prior_probability) / prior_probability))

    def forward(self, features: Sequence[Tensor], anchors: Anchors) -> Predictions:
        """Maps (N, in_channels[l], H, W), finest first -> `Predictions` over all their locations."""
        logits, offsets, quality = [], [], []
        for level, feature in enumerate(features):
            stem = self.stems[level](feature)
            box_feature = self.box_towers[level](stem)
            logits.append(flatten(self.logits[level](self.class_towers[level](stem))))
            offsets.append(flatten(self.boxes[level](box_feature)))
            quality.append(flatten(self.quality[level](box_feature)))
        return Predictions(
            torch.cat(logits, 1), self._decoded(torch.cat(offsets, 1), anchors), torch.cat(quality, 1).squeeze(-1)
        )

    def _decoded(self, offsets: Tensor, anchors: Anchors) -> Tensor:
        """(N, A, 4) -> (N, A, 4) xyxy pixels, in float32: pixels need more digits than half precision has."""
        shift, log_sides = offsets.float().split(2, dim=-1)
        strides = anchors.strides[:, None]
        centers = anchors.points + (shift - self.anchor_offset) * strides
        reach = log_sides.clamp(max=LARGEST_LOG_SIDE).exp() * (strides / 2)
        return torch.cat((centers - reach, centers + reach), -1)


def _tower(channels: int, depthwise: bool) -> nn.Sequential:
    return nn.Sequential(*(conv3x3(channels, channels, depthwise=depthwise) for _ in range(2)))
