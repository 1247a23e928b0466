"""The FCOS head with an IoU branch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otadet.boxes import distances_to_boxes
from otadet.models.heads.common import DenseHead, flatten, set_bias
from otadet.structures import Anchors

INITIAL_DISTANCE = 2.0
"""Strides from a point to each side of the box that an untrained head predicts there."""


class FCOSHead(DenseHead):
    """The distances from each point to the four sides of its box: `relu(scale_l * x) * stride_l`, with a learned scale
    per level, 1 at the start (paper, Sec. 4.1).

    Args:
        num_classes: C.
        channels: of every map of the pyramid, and of the towers.
        depth: convolutions of a tower.
        levels: of the pyramid.
        prior_probability: of every class at the start.
        quality: with a third output, the IoU or the centre-ness of the box.
        deformable, norm, bias: of the towers, see `tower`.
        level_scales: whether there are the learned scales.
    """

    scales: nn.Parameter | None
    """(levels,)"""

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        depth: int = 4,
        *,
        levels: int,
        prior_probability: float = 0.01,
        quality: bool = True,
        deformable: bool = False,
        norm: str = "group",
        bias: bool = True,
        level_scales: bool = True,
    ) -> None:
        super().__init__(num_classes, channels, depth, deformable, norm, bias)
        self.distances = nn.Conv2d(channels, 4, 3, padding=1)
        self.quality = nn.Conv2d(channels, 1, 3, padding=1) if quality else None
        self.scales = nn.Parameter(torch.ones(levels)) if level_scales else None
        self.initialize(prior_probability)
        # Started at 0, the ReLU would leave half of the sides without a gradient.
        set_bias(self.distances, INITIAL_DISTANCE)

    def boxes(self, features: Sequence[Tensor], anchors: Anchors) -> Tensor:
        # Pixels need more digits than half precision has.
        distances = [flatten(self.distances(feature)).float() for feature in features]
        if self.scales is not None:
            distances = [distance * scale for distance, scale in zip(distances, self.scales.unbind(), strict=True)]
        distances = [F.relu(distance) for distance in distances]
        return distances_to_boxes(anchors.points, torch.cat(distances, 1) * anchors.strides[:, None])
