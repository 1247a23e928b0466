"""DETR's cost and the least total of a matching, by torchvision and scipy: tables of all boxes with all anchors."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import generalized_box_iou

from otadet.structures import GroundTruth, Predictions
from tests.helpers.dense_ota import focal, ordered


def detr_cost(predictions: Predictions, truth: GroundTruth, width: float, height: float) -> Tensor:
    """(G, A)"""
    logits, boxes = predictions.logits[0], ordered(predictions.boxes[0])
    class_cost = (focal(logits, torch.ones_like(logits)) - focal(logits, torch.zeros_like(logits)))[:, truth.labels].T
    scale = torch.tensor([width, height, width, height])

    def as_center_and_size(boxes: Tensor) -> Tensor:
        return torch.cat(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), 1) / scale

    distance = torch.cdist(as_center_and_size(truth.boxes), as_center_and_size(boxes), p=1)
    return 2 * class_cost + 5 * distance - 2 * generalized_box_iou(truth.boxes, boxes)


def least_total(cost: Tensor) -> float:
    """Of one anchor a box, (G, A)."""
    box, anchor = linear_sum_assignment(cost.numpy())
    return float(cost[box, anchor].sum())
