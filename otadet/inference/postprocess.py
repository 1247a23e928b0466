"""Predictions -> detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from otadet.boxes import clip
from otadet.limits import Limits
from otadet.part import Part
from otadet.structures import Anchors, Detections, Predictions

RankBy = Literal["score", "class"]
"""What pairs of an anchor and a class may be chosen by before NMS; see `Postprocess`."""
ScoreKind = Literal["geometric_mean", "product"]
"""How a class probability and a quality become one score."""
Classes = Literal["all", "best"]
"""Which of an anchor's classes may be detections."""
_SHARE = Limits(0, 1)
_COUNT = Limits(0, 10**9, open_low=True)


def class_scores_of(predictions: Predictions) -> Tensor:
    """(N, A, C) in 0-1: the class probabilities."""
    return predictions.logits.float().sigmoid()


def scores_of(predictions: Predictions, kind: str = "geometric_mean", classes: str = "all") -> Tensor:
    """(N, A, C) in 0-1: class probability and quality as one number, or the probability alone without a quality.

    kind: a `ScoreKind`. classes: with "best" all scores of an anchor but its highest are 0.
    """
    scores = class_scores_of(predictions)
    if predictions.quality is not None:
        product = scores * predictions.quality.float().sigmoid()[..., None]
        scores = product.sqrt() if kind == "geometric_mean" else product
    return scores if classes == "all" else torch.where(scores == scores.amax(-1, keepdim=True), scores, 0.0)


@dataclass(frozen=True)
class Postprocess(Part):
    """Score threshold, the best `topk_per_level` of each level, class-wise NMS, the best `max_detections`.

    Pairs of an anchor and a class with a score of 0 are none. Raises `UserError`, naming the field, for values that
    cannot work.
    """

    score_threshold: Annotated[float, _SHARE] = 0.05
    """0-1."""
    topk_per_level: Annotated[int, _COUNT] = 1000
    """Pairs of an anchor and a class."""
    nms_iou: Annotated[float, _SHARE] = 0.6
    """0-1: what overlaps a better box of its class by more is dropped."""
    max_detections: Annotated[int, _COUNT] = 100
    rank_by: RankBy = "score"
    """What the threshold and the choice of the best of each level look at: "score", as in the released OTA, or "class",
    the class probability alone, as in FCOS and ATSS. NMS and the detections have the score in either case."""
    score: ScoreKind = "geometric_mean"
    """Of the class probability and the quality: their "geometric_mean", `sqrt(class * quality)`, as in the released
    OTA, or their "product", as in YOLOX, whose quality is an objectness."""
    classes: Classes = "all"
    """Of an anchor that may be detections: "all", or the "best" one alone, as in YOLOX."""
    clip: bool = False
    """Whether boxes are limited to the image before NMS, as in torchvision, and not only in the end."""

    @torch.no_grad()
    def __call__(
        self, predictions: Predictions, anchors: Anchors, sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[Detections]:
        """One `Detections` per image, in pixels of the network's input, best score first.

        sizes: as in `candidates`.
        """
        found = self.candidates(predictions, anchors, sizes) if self.clip else self.candidates(predictions, anchors)
        return [self.merge(of_image) for of_image in found]

    @torch.no_grad()
    def candidates(
        self, predictions: Predictions, anchors: Anchors, sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[Detections]:
        """What NMS chooses from, of each image: the best of each level above the threshold, in no order.

        sizes: N (height, width) of the images without padding, in pixels of the input; `clip` needs them, `ValueError`
        without.
        """
        counts = anchors.level_counts
        scores = scores_of(predictions, self.score, self.classes)
        class_scores = class_scores_of(predictions) if self.rank_by == "class" else scores
        of_images: Sequence[tuple[int, int] | None] = [None] * len(scores) if sizes is None else sizes
        return [
            self._best(image_scores, boxes, counts, image_class_scores, size)
            for image_scores, boxes, image_class_scores, size in zip(
                scores, predictions.boxes.float(), class_scores, of_images, strict=True
            )
        ]

    def select(
        self,
        scores: Tensor,
        boxes: Tensor,
        counts: list[int],
        class_scores: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Detections:
        """One image.

        Args:
            scores: (A, C) in 0-1.
            boxes: (A, 4).
            counts: anchors of each level.
            class_scores: (A, C), needed to rank by them; `ValueError` without.
            size: (height, width) without padding, needed to clip; `ValueError` without.
        """
        return self.merge(self._best(scores, boxes, counts, class_scores, size))

    def merge(self, candidates: Detections) -> Detections:
        """Class-wise NMS and the best `max_detections`, of one image: best score first."""
        # batched_nms returns its survivors best score first.
        kept = batched_nms(candidates.boxes, candidates.scores, candidates.labels, self.nms_iou)
        return candidates[kept[: self.max_detections]]

    def _best(
        self,
        scores: Tensor,
        boxes: Tensor,
        counts: list[int],
        class_scores: Tensor | None,
        size: tuple[int, int] | None,
    ) -> Detections:
        ranks = class_scores if self.rank_by == "class" else scores
        if ranks is None:
            raise ValueError("rank_by 'class': needs class_scores")
        levels = zip(scores.split(counts), boxes.split(counts), ranks.split(counts), strict=True)
        found = Detections.joined([self._one_level(*level) for level in levels])
        if not self.clip:
            return found
        if size is None:
            raise ValueError("clip: needs the size of the image")
        return replace(found, boxes=clip(found.boxes, *size))

    def _one_level(self, scores: Tensor, boxes: Tensor, ranks: Tensor) -> Detections:
        num_classes = scores.shape[1]
        best, index = ranks.flatten().topk(min(self.topk_per_level, ranks.numel()))
        found = scores.flatten()[index]
        is_kept = (best > self.score_threshold) & (found > 0)
        found, index = found[is_kept], index[is_kept]
        anchor = index.div(num_classes, rounding_mode="floor")
        return Detections(boxes[anchor], found, index % num_classes)
