"""What a rule looks at: the predictions and the truth at pairs of a box and an anchor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops.inputs import MAX_COORDINATE, MAX_LOGIT, limit_
from otadet.assigners.ops.pairs import Pairs
from otadet.boxes import centers, iou
from otadet.structures import Anchors, Predictions


@dataclass(frozen=True)
class PairValues:
    """What the network predicts at the pairs, in the assigner's precision, and the truth beside it."""

    logits: Tensor
    """(P,) logit of the box's class."""
    quality: Tensor | None
    """(P,) quality logit."""
    boxes: Tensor
    """(P, 4) predicted boxes."""
    gt_boxes: Tensor
    """(P, 4) true boxes."""
    iou: Tensor
    """(P,) IoU of the two."""
    anchor_row: Tensor
    """(P,) int64 row of the batch's anchors."""
    anchors: Anchors
    """Those of an image."""

    @property
    def distance(self) -> Tensor:
        """(P,) from the anchor's point to the centre of the true box, in strides. Worked out anew each time."""
        index, dtype = self.anchor_row.remainder(len(self.anchors.points)), self.gt_boxes.dtype
        center = centers(self.gt_boxes)
        right, down = (self.anchors.points[:, axis].to(dtype)[index] - center[..., axis] for axis in (0, 1))
        return right.hypot(down) / self.anchors.strides.to(dtype)[index]


def gather(predictions: Predictions, anchors: Anchors, truth: PaddedTruth, pairs: Pairs) -> PairValues:
    """The predictions and the truth at the pairs; nothing of size A x C is made.

    What is not finite or too large to compute with is limited (`inputs.limit_`).
    """
    dtype, num_classes = truth.boxes.dtype, predictions.logits.shape[-1]
    label = truth.labels.flatten()[pairs.gt_row]
    logits = limit_(predictions.logits.reshape(-1)[pairs.anchor_row * num_classes + label].to(dtype), MAX_LOGIT)
    quality = None
    if predictions.quality is not None:
        quality = limit_(predictions.quality.reshape(-1)[pairs.anchor_row].to(dtype), MAX_LOGIT)
    boxes = limit_(predictions.boxes.reshape(-1, 4).index_select(0, pairs.anchor_row).to(dtype), MAX_COORDINATE)
    gt_boxes = truth.boxes.view(-1, 4).index_select(0, pairs.gt_row)
    return PairValues(logits, quality, boxes, gt_boxes, iou(boxes, gt_boxes), pairs.anchor_row, anchors)
