"""The RetinaNet head with one anchor box per location."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from otadet.boxes import deltas_to_boxes
from otadet.models.heads.common import DenseHead, flatten
from otadet.structures import Anchors


class RetinaNetHead(DenseHead):
    """Boxes as deltas from the square anchor box of each location (Lin et al., 2017).

    It has the towers of `FCOSHead`, so that the two differ in their boxes alone (paper, Tab. 1). The arguments are its
    too, but for the levels, of which any number is as good.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        depth: int = 4,
        *,
        prior_probability: float = 0.01,
        quality: bool = True,
        deformable: bool = False,
    ) -> None:
        super().__init__(num_classes, channels, depth, deformable)
        self.deltas = nn.Conv2d(channels, 4, 3, padding=1)
        self.quality = nn.Conv2d(channels, 1, 3, padding=1) if quality else None
        self.initialize(prior_probability)

    def boxes(self, features: Sequence[Tensor], anchors: Anchors) -> Tensor:
        deltas = torch.cat([flatten(self.deltas(feature)) for feature in features], 1)
        # Pixels need more digits than half precision has.
        return deltas_to_boxes(anchors.boxes, deltas.float())
