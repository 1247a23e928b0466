"""The costs of YOLOX, RTMDet and DETR as (G + 1, A) tables of one image, written with all classes, in float64."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.structures import Anchors, GroundTruth, Predictions
from tests.helpers.dense_ota import focal, giou_loss, ordered, overlaps


def _first(predictions: Predictions) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (A, C), quality (A, 1), boxes (A, 4); of a batch the first image."""
    logits, boxes, quality = predictions.logits, predictions.boxes, predictions.quality
    if logits.ndim == 3:
        logits, boxes, quality = logits[0], boxes[0], quality[0]
    return logits.double(), quality.double()[:, None], ordered(boxes.double())


def _targets(truth: GroundTruth, num_classes: int) -> Tensor:
    """(G + 1, 1, C) one-hot, the last row of zeros."""
    return torch.cat((F.one_hot(truth.labels, num_classes), torch.zeros(1, num_classes))).double()[:, None]


def _with_background(cost: Tensor) -> Tensor:
    return torch.cat((cost, cost.new_zeros(1, cost.shape[1])))


def yolox_costs(predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> Tensor:
    logits, quality, boxes = _first(predictions)
    score = (logits.sigmoid() * quality.sigmoid()).sqrt()
    targets = _targets(truth, logits.shape[1]).expand(-1, len(score), -1)
    entropy = F.binary_cross_entropy(score.expand_as(targets), targets, reduction="none").sum(-1)
    ious = overlaps(truth.boxes.double(), boxes)
    return entropy + _with_background(-3 * ious.clamp(min=1e-8).log())


def rtmdet_costs(predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> Tensor:
    logits, quality, boxes = _first(predictions)
    score = logits.sigmoid() * quality.sigmoid()
    gt = truth.boxes.double()
    ious = overlaps(gt, boxes)
    targets = _targets(truth, logits.shape[1]) * _with_background(ious)[..., None]
    score = score.expand_as(targets)
    quality_focal = (F.binary_cross_entropy(score, targets, reduction="none") * (targets - score) ** 2).sum(-1)
    distance = torch.cdist((gt[:, :2] + gt[:, 2:]) / 2, anchors.points.double()) / anchors.strides
    return quality_focal + _with_background(-3 * ious.clamp(min=1e-7).log() + 10 ** (distance - 3))


def detr_costs(predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> Tensor:
    logits, _, boxes = _first(predictions)
    targets = _targets(truth, logits.shape[1])
    classes = torch.stack([focal(logits, target).sum(-1) for target in targets])
    height, width = anchors.level_sizes[0]
    size = anchors.strides[0] * torch.tensor([width, height, width, height])
    gt = truth.boxes.double()
    to_middle = torch.tensor([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]]).double()
    distance = torch.cdist(gt @ to_middle / size, boxes @ to_middle / size, p=1)
    return 2 * classes + _with_background(5 * distance + 2 * giou_loss(gt, boxes) - 2)
