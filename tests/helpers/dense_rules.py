"""The rules as their papers and released code have them: dense (G, A) tables, one image, plain loops.

They share no code with `otadet.assigners`. Each returns gt_index (A,) and the number of boxes that want each anchor.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_iou, complete_box_iou, generalized_box_iou

from otadet.structures import Anchors, GroundTruth, Predictions
from tests.helpers.dense_ota import focal, ordered

LEVEL_RANGES = ((-1, 64), (64, 128), (128, 256), (256, 512), (512, float("inf")))


def sides(anchors: Anchors, truth: GroundTruth) -> Tensor:
    """(G, A, 4) distances of the points to the left, top, right and bottom of each box."""
    points, boxes = anchors.points.double(), truth.boxes.double()[:, None]
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), -1)


def give_to_largest(value: Tensor, wanted: Tensor) -> Tensor:
    """(G, A), (G, A) bool -> (A,)."""
    best = torch.where(wanted, value, -torch.inf).max(0)
    return torch.where(best.values > -torch.inf, best.indices, -1)


def dense_fcos(anchors: Anchors, truth: GroundTruth, radius: float | None = 1.5) -> tuple[Tensor, Tensor]:
    distance, boxes = sides(anchors, truth), truth.boxes.double()
    wanted = distance.amin(-1) > 0
    if radius is not None:
        center = (boxes[:, :2] + boxes[:, 2:]) / 2
        offset = (anchors.points.double() - center[:, None]).abs().amax(-1)
        wanted &= offset < radius * anchors.strides
    sizes = [height * width for height, width in anchors.level_sizes]
    low, high = (
        torch.cat([torch.full((size,), limits[end]) for size, limits in zip(sizes, LEVEL_RANGES, strict=True)])
        for end in (0, 1)
    )
    longest = distance.amax(-1)
    wanted &= (longest >= low) & (longest <= high)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return give_to_largest(-area[:, None].expand_as(longest), wanted), wanted.sum(0)


def dense_max_iou(
    anchors: Anchors, truth: GroundTruth, positive: float = 0.5, negative: float = 0.4, low_quality: bool = True
) -> tuple[Tensor, Tensor]:
    overlap = box_iou(truth.boxes.double(), anchors.boxes.double())
    wanted = overlap >= positive
    if low_quality:
        for box in range(len(overlap)):
            if overlap[box].max() > 0:
                wanted[box] |= overlap[box] == overlap[box].max()
    best, gt_index = overlap.max(0)
    gt_index = torch.where(wanted.any(0), gt_index, torch.where(best >= negative, -2, -1))
    return gt_index, wanted.sum(0)


def dense_atss(anchors: Anchors, truth: GroundTruth, topk: int = 9) -> tuple[Tensor, Tensor]:
    overlap = box_iou(truth.boxes.double(), anchors.boxes.double())
    inside = sides(anchors, truth).amin(-1) > 0.01
    center = (truth.boxes[:, :2] + truth.boxes[:, 2:]).double() / 2
    distance = torch.cdist(center, anchors.points.double())
    wanted = torch.zeros_like(inside)
    first = 0
    candidates = [[] for _ in truth.boxes]
    for height, width in anchors.level_sizes:
        for box in range(len(truth.boxes)):
            near = distance[box, first : first + height * width].topk(min(topk, height * width), largest=False).indices
            candidates[box].append(first + near)
        first += height * width
    for box, parts in enumerate(candidates):
        anchor = torch.cat(parts)
        threshold = overlap[box, anchor].mean() + overlap[box, anchor].std()
        wanted[box, anchor] = (overlap[box, anchor] >= threshold) & inside[box, anchor]
    return give_to_largest(overlap, wanted), wanted.sum(0)


def dense_tal(
    predictions: Predictions,
    anchors: Anchors,
    truth: GroundTruth,
    alpha: float = 1.0,
    beta: float = 6.0,
    topk: int = 13,
) -> tuple[Tensor, Tensor]:
    overlap = box_iou(truth.boxes.double(), ordered(predictions.boxes[0].double()))
    overlap = torch.where(overlap.isfinite(), overlap, 0)
    score = predictions.logits[0].double().sigmoid()[:, truth.labels].T
    alignment = score**alpha * overlap**beta * (sides(anchors, truth).amin(-1) > 0.01)
    best = alignment.topk(min(topk, alignment.shape[1]), dim=1)
    wanted = torch.zeros_like(alignment, dtype=torch.bool).scatter_(1, best.indices, best.values > 0)
    return give_to_largest(overlap, wanted), wanted.sum(0)


def dense_yolo_tal(
    predictions: Predictions,
    anchors: Anchors,
    truth: GroundTruth,
    alpha: float = 0.5,
    beta: float = 6.0,
    topk: int = 10,
) -> tuple[Tensor, Tensor]:
    """The YOLOs' rule, from its description: tables of all boxes with all points, ties settled by an argmax."""
    boxes = truth.boxes.double()
    finest, second = sorted({float(stride) for stride in anchors.strides})[:2]
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    size = torch.where(size < finest, second, size)
    offset = (anchors.points.double() - middle[:, None]).abs()
    inside = (size[:, None] / 2 - offset).amin(-1) > 1e-9
    overlap = torch.zeros_like(inside, dtype=torch.float64)
    predicted = predictions.boxes[0].double()
    proper = (predicted[:, 2:] > predicted[:, :2]).all(1)
    for box in range(len(boxes)):
        anchor = (inside[box] & proper).nonzero().flatten()
        overlap[box, anchor] = complete_box_iou(boxes[box, None], predicted[anchor])[0].clamp(min=0)
    alignment = predictions.logits[0].double().sigmoid()[:, truth.labels].T ** alpha * overlap**beta
    best = alignment.topk(min(topk, alignment.shape[1]), dim=1)
    wanted = torch.zeros_like(inside).scatter_(1, best.indices, best.values > 0)
    takers = wanted.sum(0)
    gt_index = torch.where(takers > 1, overlap.argmax(0), wanted.int().argmax(0))
    return torch.where(takers > 0, gt_index, -1), takers


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
