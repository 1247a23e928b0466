"""OTA, SimOTA and TAL in the dense form that they usually have: the baselines of the benchmark.

Each is a function (predictions, anchors, truths) -> gt_index (N, A), in plain float32 torch, with every anchor of the
image in its tables. They share nothing with `otadet.assigners`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.boxes import pairwise_iou
from otadet.structures import BACKGROUND, Anchors, GroundTruth, Predictions

Rule = Callable[[Predictions, Anchors, Sequence[GroundTruth]], Tensor]


def dense_ota(predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> Tensor:
    """OTA image by image: a (G, A, C) focal cost and 50 log-domain iterations on (G + 1, A)."""
    images = zip(predictions.logits, predictions.boxes, truths, strict=True)
    return torch.stack([_ota_of_image(logits, boxes, anchors, truth) for logits, boxes, truth in images])


def _ota_of_image(
    logits: Tensor, boxes: Tensor, anchors: Anchors, truth: GroundTruth, eps: float = 0.1, iterations: int = 50
) -> Tensor:
    num_boxes, (num_anchors, num_classes) = len(truth.boxes), logits.shape
    targets = F.one_hot(truth.labels, num_classes).to(logits.dtype)[:, None].expand(-1, num_anchors, -1)
    class_cost = _focal(logits.expand(num_boxes, -1, -1), targets).sum(-1)
    background = _focal(logits, torch.zeros_like(logits)).sum(-1)
    overlap = pairwise_iou(truth.boxes, boxes)
    prior = _inside(anchors, truth) & _near_center(anchors, truth, 2.5)
    cost = class_cost - 1.5 * overlap.clamp(min=torch.finfo(torch.float32).eps).log() + 1e6 * ~prior
    cost = torch.cat((cost, background[None]))

    top = (overlap * prior).topk(min(20, num_anchors), dim=1).values.sum(1).int().clamp(min=1)
    supply = torch.cat((top, (num_anchors - top.sum())[None])).to(cost.dtype)
    demand = torch.ones_like(cost[0])
    u, v = torch.ones_like(supply), torch.ones_like(demand)
    for _ in range(iterations):
        v = eps * (torch.log(demand + 1e-8) - torch.logsumexp(_scaled(cost, u, v, eps).T, dim=-1)) + v
        u = eps * (torch.log(supply + 1e-8) - torch.logsumexp(_scaled(cost, u, v, eps), dim=-1)) + u
    plan = _scaled(cost, u, v, eps).exp()
    winner = (plan / plan.amax(1, keepdim=True)).argmax(0)
    return torch.where(winner < num_boxes, winner, BACKGROUND)


def _scaled(cost: Tensor, u: Tensor, v: Tensor, eps: float) -> Tensor:
    return (u[:, None] + v[None, :] - cost) / eps


def dense_simota(predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> Tensor:
    """SimOTA image by image, with YOLOX's settings: (N, A) as `Assignment.gt_index`.

    `predictions.quality` is YOLOX's objectness; raises `ValueError` without it.
    """
    if predictions.quality is None:
        raise ValueError("YOLOX's SimOTA needs the predictions' quality")
    images = zip(predictions.logits, predictions.quality, predictions.boxes, truths, strict=True)
    return torch.stack([_simota_of_image(*image[:3], anchors, image[3]) for image in images])


def _simota_of_image(logits: Tensor, objectness: Tensor, boxes: Tensor, anchors: Anchors, truth: GroundTruth) -> Tensor:
    near = _near_center(anchors, truth, 1.5)
    foreground = near.any(0)
    num_boxes, num_candidates = len(truth.boxes), int(foreground.sum())
    overlap = pairwise_iou(truth.boxes, boxes[foreground])
    joint = (logits[foreground].sigmoid() * objectness[foreground, None].sigmoid()).sqrt()
    targets = F.one_hot(truth.labels, logits.shape[1]).to(logits.dtype)[:, None].expand(-1, num_candidates, -1)
    entropy = F.binary_cross_entropy(joint.expand(num_boxes, -1, -1), targets, reduction="none")
    cost = entropy.sum(-1) - 3 * (overlap + 1e-8).log() + 1e6 * ~near[:, foreground]

    matching = torch.zeros_like(cost, dtype=torch.bool)
    wanted = overlap.topk(min(10, num_candidates), dim=1).values.sum(1).int().clamp(min=1)
    for box in range(num_boxes):
        chosen = cost[box].topk(int(wanted[box]), largest=False).indices
        matching[box, chosen] = True
    disputed = matching.sum(0) > 1
    if disputed.any():
        cheapest = cost[:, disputed].argmin(0)
        matching[:, disputed] = False
        matching[cheapest, disputed] = True
    gt_index = torch.full((len(boxes),), BACKGROUND, device=boxes.device)
    gt_index[foreground] = torch.where(matching.any(0), matching.int().argmax(0), BACKGROUND)
    return gt_index


def dense_tal(
    predictions: Predictions,
    anchors: Anchors,
    truths: Sequence[GroundTruth],
    alpha: float = 0.5,
    beta: float = 6.0,
    topk: int = 10,
) -> Tensor:
    """Task-aligned assignment of the whole batch at once, on padded (N, G, A) tables: (N, A) as
    `Assignment.gt_index`. alpha, beta, topk: as of `TaskAlignedAssigner`."""
    counts = [len(truth.boxes) for truth in truths]
    boxes = predictions.boxes.new_zeros(len(truths), max(counts), 4)
    labels = truths[0].labels.new_zeros(len(truths), max(counts))
    present = torch.zeros_like(labels, dtype=torch.bool)
    for row, (truth, count) in enumerate(zip(truths, counts, strict=True)):
        boxes[row, :count], labels[row, :count], present[row, :count] = truth.boxes, truth.labels, True

    points = anchors.points[None, None]
    sides = torch.cat((points - boxes[:, :, None, :2], boxes[:, :, None, 2:] - points), -1)
    inside = (sides.amin(-1) > 1e-9) & present[..., None]
    image = torch.arange(len(truths), device=boxes.device)[:, None]
    scores, overlap = torch.zeros_like(inside, dtype=boxes.dtype), torch.zeros_like(inside, dtype=boxes.dtype)
    scores[inside] = predictions.logits.sigmoid()[image, :, labels][inside]
    true_boxes = boxes[:, :, None].expand(-1, -1, len(anchors.points), -1)
    predicted = predictions.boxes[:, None].expand(-1, boxes.shape[1], -1, -1)
    overlap[inside] = _paired_iou(true_boxes[inside], predicted[inside])
    metric = scores.pow(alpha) * overlap.pow(beta)

    best = metric.topk(min(topk, metric.shape[-1]), dim=-1)
    taken = torch.zeros_like(inside).scatter_(2, best.indices, best.values > 0) & inside
    disputed = taken.sum(1, keepdim=True) > 1
    closest = torch.zeros_like(inside).scatter_(1, overlap.argmax(1, keepdim=True), True)
    taken = torch.where(disputed, closest, taken)
    return torch.where(taken.any(1), taken.int().argmax(1), BACKGROUND)


def _paired_iou(a: Tensor, b: Tensor) -> Tensor:
    return pairwise_iou(a[:, None], b[:, None])[:, 0, 0]


def _inside(anchors: Anchors, truth: GroundTruth) -> Tensor:
    """(G, A) bool: the point lies in the box."""
    points, boxes = anchors.points[None], truth.boxes[:, None]
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), -1).amin(-1) > 0.01


def _near_center(anchors: Anchors, truth: GroundTruth, radius: float) -> Tensor:
    """(G, A) bool: strictly within `radius` strides of the box's centre, in x and in y."""
    center = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    reach = anchors.strides[:, None] * radius
    points = anchors.points[None]
    low, high = center[:, None] - reach, center[:, None] + reach
    return torch.cat((points - low, high - points), -1).amin(-1) > 0


def _focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    hit = probability * targets + (1 - probability) * (1 - targets)
    return (alpha * targets + (1 - alpha) * (1 - targets)) * (1 - hit) ** gamma * entropy


BASELINES: dict[str, Rule] = {"dense OTA": dense_ota, "dense SimOTA": dense_simota, "dense TAL": dense_tal}
