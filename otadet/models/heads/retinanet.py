"""The RetinaNet head: boxes as deltas from anchor boxes, one or several per location."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from otadet.boxes import deltas_to_boxes
from otadet.models.heads.common import DenseHead, flatten
from otadet.structures import Anchors

ONES = (1.0, 1.0, 1.0, 1.0)


class RetinaNetHead(DenseHead):
    """Boxes as deltas from the anchor boxes of each location (Lin et al., 2017).

    It has the towers of `FCOSHead`, so that with one square anchor box per location the two differ in their boxes alone
    (paper, Tab. 1). The arguments are its too, but for the levels, of which any number is as good.

    Args:
        per_location: anchor boxes of a point.
        delta_weights: what the deltas dx, dy, dw, dh are divided by before they are decoded, all above 0.
    """

    delta_weights: Tensor | None
    """(4,); None where all are 1."""

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        depth: int = 4,
        *,
        prior_probability: float = 0.01,
        quality: bool = True,
        deformable: bool = False,
        norm: str = "group",
        bias: bool = True,
        per_location: int = 1,
        delta_weights: Sequence[float] = ONES,
    ) -> None:
        super().__init__(num_classes, channels, depth, deformable, norm, bias, per_location)
        self.deltas = nn.Conv2d(channels, 4 * per_location, 3, padding=1)
        self.quality = nn.Conv2d(channels, per_location, 3, padding=1) if quality else None
        weights = None if tuple(delta_weights) == ONES else torch.tensor(delta_weights, dtype=torch.float32)
        self.register_buffer("delta_weights", weights, persistent=False)
        self.initialize(prior_probability)

    def boxes(self, features: Sequence[Tensor], anchors: Anchors) -> Tensor:
        deltas = torch.cat([flatten(self.deltas(feature), self.per_location) for feature in features], 1)
        # Pixels need more digits than half precision has.
        deltas = deltas.float()
        return deltas_to_boxes(anchors.boxes, deltas if self.delta_weights is None else deltas / self.delta_weights)
