"""The dense OTA, written plainly in float64: the (G + 1, A) problem of the paper, one image at a time.

It follows Algorithm 1 and the design of the released code (window prior, log-domain updates, demanders first) and
shares no code with `otadet.assigners`, so that it can judge them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou

from otadet.structures import Anchors, GroundTruth, Predictions

PairCosts = Callable[[Predictions, Anchors, GroundTruth], Tensor]
"""-> (G + 1, A) of the first image in float64, the last row that of background."""


@dataclass(frozen=True)
class DenseResult:
    gt_index: Tensor  # (A,)
    share: Tensor  # (G + 1, A) plan divided by the maximum of each row
    plan: Tensor  # (G + 1, A)
    prior: Tensor  # (G, A) bool
    cost: Tensor  # (G + 1, A)


def dense_ota(
    predictions: Predictions,
    anchors: Anchors,
    truth: GroundTruth,
    *,
    radius: float = 2.5,
    top_q: int = 20,
    iou_weight: float = 1.5,
    eps: float = 0.1,
    iterations: int = 50,
    k: int | None = None,
    prior: Tensor | None = None,
    class_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    box_loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    pair_cost: PairCosts | None = None,
    dtype: torch.dtype = torch.float64,
) -> DenseResult:
    """Assign the first image of `predictions`.

    prior: (G, A) bool, else the window of `radius`. class_loss: logits (A, C), target (C,) -> (A, C), else `focal`.
    box_loss: true boxes (G, 4), predicted boxes (A, 4) -> (G, A), else `-log(IoU)`. pair_cost: in place of both.
    """
    class_loss, box_loss = class_loss or focal, box_loss or iou_loss
    logits, boxes = predictions.logits[0].to(dtype), predictions.boxes[0].to(dtype)
    points, strides, gt = anchors.points.to(dtype), anchors.strides.to(dtype), truth.boxes.to(dtype)
    num_boxes, num_anchors = len(gt), len(points)
    if prior is None:
        prior = window_prior(points, strides, gt, radius)
    one_hot = F.one_hot(truth.labels, logits.shape[1]).to(dtype)
    class_cost = torch.stack([class_loss(logits, target).sum(-1) for target in one_hot])
    cost = class_cost + iou_weight * box_loss(gt, ordered(boxes))
    background_cost = class_loss(logits, torch.zeros_like(one_hot[0])).sum(-1)
    if pair_cost is not None:
        cost, background_cost = pair_cost(predictions, anchors, truth).split((num_boxes, 1))
    cost = torch.cat((cost + 1e6 * ~prior, background_cost.view(1, -1)))
    supply = torch.ones(num_boxes + 1, dtype=dtype)
    if k is None:
        best = (overlaps(gt, ordered(boxes)) * prior).topk(min(top_q, num_anchors), dim=1).values
        supply[:-1] = best.sum(1).floor().clamp(min=1)
    else:
        supply[:-1] = k
    supply[-1] = num_anchors - supply[:-1].sum()
    u, v = torch.ones(num_boxes + 1, dtype=dtype), torch.ones(num_anchors, dtype=dtype)
    for _ in range(iterations):
        v = -eps * torch.logsumexp((u[:, None] - cost) / eps, 0)
        u = eps * (supply.log() - torch.logsumexp((v - cost) / eps, 1))
    plan = ((u[:, None] + v - cost) / eps).exp()
    share = plan / plan.amax(1, keepdim=True)
    winner = share.argmax(0)
    return DenseResult(torch.where(winner < num_boxes, winner, -1), share, plan, prior, cost)


def window_prior(points: Tensor, strides: Tensor, gt: Tensor, radius: float) -> Tensor:
    """(G, A) bool: inside the box by more than 0.01 px and strictly within `radius` strides of its centre."""
    center = (gt[:, :2] + gt[:, 2:]) / 2
    near = (points[None] - center[:, None]).abs().amax(-1) < radius * strides
    return inside_prior(points, gt) & near


def focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(*torch.broadcast_tensors(logits, target), reduction="none")
    hit = probability * target + (1 - probability) * (1 - target)
    return (alpha * target + (1 - alpha) * (1 - target)) * (1 - hit) ** gamma * entropy


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy, from the logarithm of the probability of what is true."""
    return -F.logsigmoid(torch.where(target > 0, logits, -logits))


def overlaps(gt: Tensor, boxes: Tensor) -> Tensor:
    return box_iou(gt, boxes).nan_to_num(0)


def iou_loss(gt: Tensor, boxes: Tensor) -> Tensor:
    return -overlaps(gt, boxes).clamp(min=torch.finfo(torch.float32).eps).log()


def giou_loss(gt: Tensor, boxes: Tensor) -> Tensor:
    return 1 - generalized_box_iou(gt, boxes)


def inside_prior(points: Tensor, gt: Tensor) -> Tensor:
    """(G, A) bool: inside the box by more than 0.01 px."""
    return torch.cat((points[None] - gt[:, None, :2], gt[:, None, 2:] - points[None]), -1).amin(-1) > 0.01


def nearest_prior(points: Tensor, strides: Tensor, gt: Tensor, side: int) -> Tensor:
    """(G, A) bool: the `side * side` points of each level nearest to the centre, by looking at all of them.

    Fails where the last of them is as near as the first that is left out: which one counts is anybody's choice.
    """
    center = (gt[:, None, :2] + gt[:, None, 2:]) / 2
    squared = ((points - center) ** 2).sum(-1)
    prior = torch.zeros_like(squared, dtype=torch.bool)
    for stride in strides.unique():
        level = (strides == stride).nonzero().flatten()
        distance, order = squared[:, level].sort(dim=1)
        count = side * side
        if count < len(level):
            assert (distance[:, count] - distance[:, count - 1] > 1e-4).all(), "equally near points"
        for box, nearest in enumerate(order[:, :count]):
            prior[box, level[nearest]] = True
    return prior


def ordered(boxes: Tensor) -> Tensor:
    """Crossed corners make an empty box."""
    return torch.cat((boxes[..., :2], torch.maximum(boxes[..., :2], boxes[..., 2:])), -1)
