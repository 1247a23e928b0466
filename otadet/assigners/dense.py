"""A rule written as (G, A) tables of one image: the way to try an idea."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otadet.assigners.base import Assigner, PaddedTruth
from otadet.assigners.ops.inputs import MAX_COORDINATE, MAX_LOGIT, limit_
from otadet.structures import BACKGROUND, IGNORED, Anchors, Assignment, GroundTruth, Predictions


@dataclass(frozen=True)
class DenseClaims:
    """What a dense rule says of the G boxes and A anchors of one image."""

    value: Tensor
    """(G, A) by which the claims on an anchor are compared: the largest gets it; of equal ones the first box's."""
    claimed: Tensor
    """(G, A) bool: the boxes that want the anchor. One that several boxes want is ambiguous."""
    ignored: Tensor | None = None
    """(A,) bool: the anchors that are ignored where no box wants them."""
    score: Tensor | None = None
    """(G, A) in 0-1: the soft target of the anchor's class where the box gets it. None: 1."""


class DenseAssigner(Assigner):
    """A rule in five lines, for trying an idea. Time and memory grow with G x A, and it waits for an accelerator.

    >>> from otadet.boxes import pairwise_iou
    >>> from otadet.models import AnchorGrid
    >>> class TopkIoU(DenseAssigner):
    ...     '''The two anchors of each box whose predictions overlap it most.'''
    ...     def claims(self, predictions, anchors, truth):
    ...         ious = pairwise_iou(truth.boxes, predictions.boxes)
    ...         best = ious.topk(2, dim=1)
    ...         return DenseClaims(ious, torch.zeros_like(ious).bool().scatter(1, best.indices, best.values > 0))
    >>> anchors = AnchorGrid(strides=(8,))([torch.empty(1, 1, 1, 3)])
    >>> truth = GroundTruth(torch.tensor([[0.0, 0, 24, 8], [8.0, 0, 24, 8]]), torch.tensor([0, 1]))
    >>> predictions = Predictions(logits=torch.zeros(1, 3, 2), boxes=truth.boxes[[0, 1, 1]][None])
    >>> TopkIoU()(predictions, anchors, [truth]).gt_index
    tensor([[0, 1, 1]])
    """

    @abstractmethod
    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        """The rule for one image: logits (A, C), boxes (A, 4), quality (A,) or None; at least one true box.

        All numbers are finite and in the assigner's precision, float64 where the device has it.
        """

    def assign(self, predictions: Predictions, anchors: Anchors, truth: PaddedTruth) -> Assignment:
        gt_index = torch.full(predictions.boxes.shape[:2], BACKGROUND, device=predictions.boxes.device)
        ambiguous, dtype = torch.zeros_like(gt_index, dtype=torch.bool), truth.boxes.dtype
        points, boxes, strides = anchors.points.to(dtype), anchors.boxes.to(dtype), anchors.strides.to(dtype)
        anchors = replace(anchors, points=points, boxes=boxes, strides=strides)
        score: Tensor | None = None
        for image, valid in enumerate(truth.valid):
            row = valid.nonzero().squeeze(1)
            if len(row):
                objects = GroundTruth(truth.boxes[image, row], truth.labels[image, row])
                claims = self.claims(_of_image(predictions, image, dtype), anchors, objects)
                winner = torch.where(claims.claimed, claims.value, -torch.inf).argmax(0)
                nobody = BACKGROUND if claims.ignored is None else torch.where(claims.ignored, IGNORED, BACKGROUND)
                gt_index[image] = torch.where(claims.claimed.any(0), row[winner], nobody)
                ambiguous[image] = claims.claimed.sum(0) > 1
                if claims.score is not None:
                    score = torch.zeros(gt_index.shape, device=gt_index.device) if score is None else score
                    score[image] = torch.where(claims.claimed.any(0), claims.score.gather(0, winner[None])[0], 0)
        return Assignment(gt_index, ambiguous, score)


def _of_image(predictions: Predictions, image: int, dtype: torch.dtype) -> Predictions:
    """(A, ...), limited as `gather` limits them."""
    quality = predictions.quality
    return Predictions(
        limit_(predictions.logits[image].to(dtype, copy=True), MAX_LOGIT),
        limit_(predictions.boxes[image].to(dtype, copy=True), MAX_COORDINATE),
        None if quality is None else limit_(quality[image].to(dtype, copy=True), MAX_LOGIT),
    )
