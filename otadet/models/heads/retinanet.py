"""The RetinaNet head with one anchor box a location."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from otadet.boxes import deltas_to_boxes
from otadet.models.heads.fcos import flatten, initialize, quality_of, tower
from otadet.structures import Anchors, Predictions


class RetinaNetHead(nn.Module):
    """Classes, and boxes as deltas from the square anchor box of each location (Lin et al., 2017).

    The towers are those of `FCOSHead`, so that the two differ in their boxes alone (paper, Tab. 1). quality: with an
    IoU branch on the box tower.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        depth: int = 4,
        prior_probability: float = 0.01,
        quality: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_tower = tower(channels, depth)
        self.box_tower = tower(channels, depth)
        self.logits = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.deltas = nn.Conv2d(channels, 4, 3, padding=1)
        self.quality = nn.Conv2d(channels, 1, 3, padding=1) if quality else None
        initialize(self, self.logits, prior_probability)

    def forward(self, features: Sequence[Tensor], anchors: Anchors) -> Predictions:
        """Feature maps (N, channels, H, W), finest first -> `Predictions` over all their locations."""
        logits = torch.cat([flatten(self.logits(self.class_tower(feature))) for feature in features], 1)
        box_features = [self.box_tower(feature) for feature in features]
        deltas = torch.cat([flatten(self.deltas(feature)) for feature in box_features], 1)
        # Pixels need more digits than half precision has.
        boxes = deltas_to_boxes(anchors.boxes, deltas.float())
        return Predictions(logits, boxes, quality_of(self.quality, box_features))
