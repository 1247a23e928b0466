"""Predictions -> detections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from otadet.structures import Anchors, Detections, Predictions

RANK_BY = ("score", "class")
"""What pairs of an anchor and a class may be chosen by before NMS; see `Postprocess`."""


def class_scores_of(predictions: Predictions) -> Tensor:
    """(N, A, C) in 0-1: the class probabilities."""
    return predictions.logits.float().sigmoid()


def scores_of(predictions: Predictions) -> Tensor:
    """(N, A, C) in 0-1: `sqrt(class * quality)`, or the class probability alone where there is no quality."""
    probabilities = class_scores_of(predictions)
    if predictions.quality is None:
        return probabilities
    return (probabilities * predictions.quality.float().sigmoid()[..., None]).sqrt()


@dataclass(frozen=True)
class Postprocess:
    """Score threshold, the best `topk_per_level` of each level, class-wise NMS, the best `max_detections`.

    rank_by: what the threshold and the choice of the best of each level look at. "score" is `sqrt(class * quality)`, as
    in the released OTA; "class" is the class probability alone, as in FCOS and ATSS. NMS and the detections have the
    score in either case, and pairs with a score of 0 are none. Raises `ValueError` for any other.
    """

    score_threshold: float = 0.05
    topk_per_level: int = 1000
    nms_iou: float = 0.6
    max_detections: int = 100
    rank_by: str = "score"

    def __post_init__(self) -> None:
        if self.rank_by not in RANK_BY:
            raise ValueError(f"rank_by {self.rank_by!r}: choose {' or '.join(map(repr, RANK_BY))}")

    @torch.no_grad()
    def __call__(self, predictions: Predictions, anchors: Anchors) -> list[Detections]:
        """One `Detections` an image, in pixels of the network's input, best score first, not clipped."""
        counts = [height * width for height, width in anchors.level_sizes]
        scores = scores_of(predictions)
        class_scores = class_scores_of(predictions) if self.rank_by == "class" else scores
        return [
            self.select(image_scores, boxes, counts, image_class_scores)
            for image_scores, boxes, image_class_scores in zip(
                scores, predictions.boxes.float(), class_scores, strict=True
            )
        ]

    def select(
        self, scores: Tensor, boxes: Tensor, counts: list[int], class_scores: Tensor | None = None
    ) -> Detections:
        """One image: scores (A, C) in 0-1, boxes (A, 4), counts: anchors of each level.

        class_scores: (A, C), needed to rank by them; `ValueError` without.
        """
        ranks = class_scores if self.rank_by == "class" else scores
        if ranks is None:
            raise ValueError("rank_by 'class': needs class_scores")
        levels = zip(scores.split(counts), boxes.split(counts), ranks.split(counts), strict=True)
        found = [self._one_level(*level) for level in levels]
        found = Detections(
            torch.cat([level.boxes for level in found]),
            torch.cat([level.scores for level in found]),
            torch.cat([level.labels for level in found]),
        )
        # batched_nms returns its survivors best score first.
        return found[batched_nms(found.boxes, found.scores, found.labels, self.nms_iou)[: self.max_detections]]

    def _one_level(self, scores: Tensor, boxes: Tensor, ranks: Tensor) -> Detections:
        num_classes = scores.shape[1]
        best, index = ranks.flatten().topk(min(self.topk_per_level, ranks.numel()))
        found = scores.flatten()[index]
        is_kept = (best > self.score_threshold) & (found > 0)
        found, index = found[is_kept], index[is_kept]
        anchor = index.div(num_classes, rounding_mode="floor")
        return Detections(boxes[anchor], found, index % num_classes)
