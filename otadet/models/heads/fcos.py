"""The FCOS head with an IoU branch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otadet.boxes import distances_to_boxes
from otadet.structures import Anchors, Predictions

INITIAL_DISTANCE = 2.0
"""Strides from a point to each side of the box that an untrained head predicts there."""


class FCOSHead(nn.Module):
    """Two towers shared by the levels: classes on the one, box and its IoU on the other (paper, Sec. 4.1).

    A tower is `depth` times 3x3 convolution, GroupNorm(32), ReLU. Distances to the four sides are
    `relu(scale_l * x) * stride_l`, with a learned scale a level. Class scores start at `prior_probability`. Without
    `quality` there is no third output.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        depth: int = 4,
        levels: int = 5,
        prior_probability: float = 0.01,
        quality: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_tower = tower(channels, depth)
        self.box_tower = tower(channels, depth)
        self.logits = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.distances = nn.Conv2d(channels, 4, 3, padding=1)
        self.quality = nn.Conv2d(channels, 1, 3, padding=1) if quality else None
        self.scales = nn.Parameter(torch.ones(levels))
        initialize(self, self.logits, prior_probability)
        # Started at 0, the ReLU would leave half of the sides without a gradient.
        nn.init.constant_(self.distances.bias, INITIAL_DISTANCE)

    def forward(self, features: Sequence[Tensor], anchors: Anchors) -> Predictions:
        """Feature maps (N, channels, H, W), finest first -> `Predictions` over all their locations."""
        logits, distances, box_features = [], [], []
        for feature, scale in zip(features, self.scales.unbind(), strict=True):
            class_feature, box_feature = self.class_tower(feature), self.box_tower(feature)
            logits.append(flatten(self.logits(class_feature)))
            # Pixels need more digits than half precision has.
            distances.append(F.relu(flatten(self.distances(box_feature)).float() * scale))
            box_features.append(box_feature)
        boxes = distances_to_boxes(anchors.points, torch.cat(distances, 1) * anchors.strides[:, None])
        return Predictions(torch.cat(logits, 1), boxes, quality_of(self.quality, box_features))


def tower(channels: int, depth: int) -> nn.Sequential:
    """`depth` times 3x3 convolution, GroupNorm in 32 groups (fewer below 64 channels), ReLU."""
    # At least two channels a group: PyTorch refuses to normalise a single value, as a level of 1 x 1 would have.
    groups = math.gcd(32, channels // 2)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(groups, channels)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def initialize(head: nn.Module, logits: nn.Conv2d, prior_probability: float) -> None:
    """Convolutions as in RetinaNet: all scores start at the prior probability, so that the background does not swamp
    the first iterations (Lin et al., 2017)."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    nn.init.constant_(logits.bias, -math.log((1 - prior_probability) / prior_probability))


def quality_of(convolution: nn.Conv2d | None, features: Sequence[Tensor]) -> Tensor | None:
    """(N, A) quality logits, or None for a head without them."""
    if convolution is None:
        return None
    return torch.cat([flatten(convolution(feature)) for feature in features], 1).squeeze(-1)


def flatten(feature: Tensor) -> Tensor:
    """(N, X, H, W) -> (N, H * W, X)."""
    return feature.permute(0, 2, 3, 1).flatten(1, 2)
