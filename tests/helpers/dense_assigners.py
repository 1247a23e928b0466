"""The fast rules said again as `DenseAssigner`s: tables of all boxes with all points of one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from otadet.assigners import DenseAssigner, DenseClaims
from otadet.assigners.paa import positive_limit
from otadet.boxes import area, boxes_to_distances, centers, ciou, giou, pairwise_iou
from otadet.structures import Anchors, GroundTruth, Predictions
from tests.helpers.dense_ota import focal


def depth(anchors: Anchors, boxes: Tensor) -> Tensor:
    """(G, A) pixels by which the points lie inside the boxes."""
    return boxes_to_distances(anchors.points, boxes[:, None]).amin(-1)


def near_center(anchors: Anchors, boxes: Tensor, radius: float) -> Tensor:
    """(G, A) bool: strictly within `radius` strides of the centre."""
    return (anchors.points - centers(boxes)[:, None]).abs().amax(-1) < radius * anchors.strides


def levels(anchors: Anchors) -> list[slice]:
    """The anchors of each level."""
    ends = torch.tensor([0, *anchors.level_counts]).cumsum(0).tolist()
    return [slice(first, last) for first, last in pairwise(ends)]


def smallest_of_each_level(values: Tensor, anchors: Anchors, k: int) -> Tensor:
    """(G, A) -> (G, A) bool, infinite ones apart."""
    found = torch.zeros_like(values, dtype=torch.bool)
    for level in levels(anchors):
        part = values[:, level]
        best = part.topk(min(k, part.shape[1]), largest=False)
        found[:, level] = found[:, level].scatter(1, best.indices, best.values < torch.inf)
    return found


def cheapest(cost: Tensor, k: Tensor) -> Tensor:
    """(G, A), (G,) -> (G, A) bool: the `k` cheapest of each row, infinite ones apart."""
    rank = cost.argsort(1).argsort(1)
    return (rank < k[:, None]) & (cost < torch.inf)


def focal_sums(predictions: Predictions, truth: GroundTruth) -> Tensor:
    """(G, A) focal loss of all logits against the one-hot of each box's class."""
    one_hot = F.one_hot(truth.labels, predictions.logits.shape[1]).double()
    return torch.stack([focal(predictions.logits, target).sum(1) for target in one_hot])


def cheapest_of_all_holders(cost: Tensor, taken: Tensor, held: Tensor) -> DenseClaims:
    """An anchor that several boxes take goes to the cheapest of all that hold it."""
    return DenseClaims(-cost, torch.where(taken.sum(0) > 1, held, taken))


@dataclass(frozen=True)
class DenseTAL(DenseAssigner):
    alpha: float = 1.0
    beta: float = 6.0
    topk: int = 13

    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        ious = pairwise_iou(truth.boxes, predictions.boxes)
        alignment = predictions.logits[:, truth.labels].T.sigmoid() ** self.alpha * ious**self.beta
        best = (alignment * (depth(anchors, truth.boxes) > 0.01)).topk(self.topk, dim=1)
        return DenseClaims(ious, torch.zeros_like(ious, dtype=torch.bool).scatter_(1, best.indices, best.values > 0))


class DenseYoloTAL(DenseAssigner):
    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        finest, second = anchors.strides.unique()[:2].tolist()
        size = truth.boxes[:, 2:] - truth.boxes[:, :2]
        reach = torch.where(size < finest, second, size) / 2
        enlarged = torch.cat((centers(truth.boxes) - reach, centers(truth.boxes) + reach), 1)
        ious = ciou(truth.boxes[:, None], predictions.boxes).clamp(min=0) * (depth(anchors, enlarged) > 1e-9)
        alignment = predictions.logits[:, truth.labels].T.sigmoid() ** 0.5 * ious**6
        taken = cheapest(torch.where(alignment > 0, -alignment, torch.inf), torch.full_like(truth.labels, 10))
        return cheapest_of_all_holders(-ious, taken, ious > 0)


def tal_scores(rule: DenseTAL, predictions: Predictions, truths: list[GroundTruth], gt_index: Tensor) -> Tensor:
    """(N, A) TOOD's soft targets of the positive anchors, box by box."""
    scores = torch.zeros(gt_index.shape, dtype=torch.float64)
    for image, truth in enumerate(truths):
        for row, (box, label) in enumerate(zip(truth.boxes.double(), truth.labels, strict=True)):
            mine = gt_index[image] == row
            if not mine.any():
                continue
            ious = pairwise_iou(box[None], predictions.boxes[image].double())[0][mine]
            alignment = predictions.logits[image, mine, label].double().sigmoid() ** rule.alpha * ious**rule.beta
            scores[image, mine] = alignment / alignment.max() * ious.max()
    return scores


@dataclass(frozen=True)
class DenseFCOS(DenseAssigner):
    radius: float | None = 1.5

    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        longest = boxes_to_distances(anchors.points, truth.boxes[:, None]).amax(-1)
        claimed = depth(anchors, truth.boxes) > 0
        if self.radius is not None:
            claimed &= near_center(anchors, truth.boxes, self.radius)
        for level, low, high in zip(levels(anchors), (-1, 64, 128, 256, 512), (64, 128, 256, 512, 1e9), strict=True):
            claimed[:, level] &= (low <= longest[:, level]) & (longest[:, level] <= high)
        return DenseClaims(-area(truth.boxes)[:, None].expand_as(longest), claimed)


@dataclass(frozen=True)
class DenseMaxIoU(DenseAssigner):
    positive: float = 0.5
    negative: float = 0.4
    low_quality: bool = True

    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        ious = pairwise_iou(truth.boxes, anchors.boxes)
        wanted = ious >= self.positive
        if self.low_quality:
            wanted |= (ious == ious.amax(1, keepdim=True)) & (ious > 0)
        # Whoever wants an anchor, it goes to the box that it overlaps most: the only claimant where one box wants it.
        best = F.one_hot(ious.argmax(0), len(ious)).T.bool()
        claimed = torch.where(wanted.sum(0) > 1, wanted | best, best & wanted.any(0))
        return DenseClaims(ious, claimed, ignored=ious.amax(0) >= self.negative)


@dataclass(frozen=True)
class DenseATSS(DenseAssigner):
    topk: int = 9

    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        ious = pairwise_iou(truth.boxes, anchors.boxes)
        distance = torch.cdist(centers(truth.boxes), anchors.points)
        is_candidate = smallest_of_each_level(distance, anchors, self.topk)
        candidates = [row[kept] for row, kept in zip(ious, is_candidate, strict=True)]
        threshold = torch.stack([row.mean() + row.std() for row in candidates])
        return DenseClaims(ious, is_candidate & (ious >= threshold[:, None]) & (depth(anchors, truth.boxes) > 0.01))


@dataclass(frozen=True)
class DenseSimOTA(DenseAssigner):
    cost: Callable[[Predictions, Anchors, GroundTruth], Tensor] | None = None
    """(G + 1, A), the last row that of background; OTA's by default."""

    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        held = (depth(anchors, truth.boxes) > 0.01) & near_center(anchors, truth.boxes, 2.5)
        ious = pairwise_iou(truth.boxes, predictions.boxes)
        if self.cost is None:
            cost = focal_sums(predictions, truth) - 1.5 * ious.clamp(min=torch.finfo(torch.float32).eps).log()
        else:
            cost = self.cost(predictions, anchors, truth)[:-1]
        cost = torch.where(held, cost, torch.inf)
        k = (ious * held).topk(20, dim=1).values.sum(1).floor().clamp(min=1)
        return cheapest_of_all_holders(cost, cheapest(cost, k), held)


class DenseYOLOX(DenseAssigner):
    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        near = near_center(anchors, truth.boxes, 1.5)
        held = near.any(0).expand_as(near)
        ious = pairwise_iou(truth.boxes, predictions.boxes)
        joint = (predictions.logits.sigmoid() * predictions.quality.sigmoid()[:, None]).sqrt()
        one_hot = F.one_hot(truth.labels, joint.shape[1]).double()
        entropy = [F.binary_cross_entropy(joint, t.expand_as(joint), reduction="none").sum(1) for t in one_hot]
        cost = torch.stack(entropy) - 3 * (ious + 1e-8).log() + 1e6 * ~near
        cost = torch.where(held, cost, torch.inf)
        k = (ious * held).topk(10, dim=1).values.sum(1).floor().clamp(min=1)
        return cheapest_of_all_holders(cost, cheapest(cost, k), held)


@dataclass(frozen=True)
class DenseDSLA(DenseAssigner):
    base: float = 10.0
    radius: float = 3.0

    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        held = (depth(anchors, truth.boxes) > 0.01).any(0).expand(len(truth.boxes), -1)
        ious = pairwise_iou(truth.boxes, predictions.boxes)
        score = predictions.logits[:, truth.labels].T.sigmoid() * predictions.quality.sigmoid()
        entropy = F.binary_cross_entropy(score, ious, reduction="none")
        prior = self.base ** (torch.cdist(centers(truth.boxes), anchors.points) / anchors.strides - self.radius)
        cost = entropy * (ious - score) ** 2 - 3 * (ious + 1e-7).log() + prior
        cost = torch.where(held, cost, torch.inf)
        k = (ious * held).topk(13, dim=1).values.sum(1).floor().clamp(min=1)
        claims = cheapest_of_all_holders(cost, cheapest(cost, k), held)
        return replace(claims, score=ious)


class DenseLLA(DenseAssigner):
    """For boxes that hold ten points: it fills up outside from the whole image."""

    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        ious = pairwise_iou(truth.boxes, predictions.boxes)
        cost = focal_sums(predictions, truth) - 1.5 * ious.clamp(min=torch.finfo(torch.float32).eps).log()
        held = depth(anchors, truth.boxes) > 0.01
        cost = torch.where(held, cost, torch.inf)
        return cheapest_of_all_holders(cost, cheapest(cost, torch.full_like(truth.labels, 10)), held)


@dataclass(frozen=True)
class DensePAA(DenseAssigner):
    topk: int = 9

    def claims(self, predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> DenseClaims:
        ious = pairwise_iou(truth.boxes, anchors.boxes)
        matched = (ious.amax(0) >= 0.1) | (ious == ious.amax(1, keepdim=True)).any(0)
        owned = F.one_hot(ious.argmax(0), len(ious)).T.bool() & matched
        loss = focal_sums(predictions, truth) + 1 - giou(truth.boxes[:, None], predictions.boxes)
        owned_loss = torch.where(owned, loss, torch.inf)
        is_candidate = smallest_of_each_level(owned_loss, anchors, self.topk)
        limit = positive_limit(torch.where(is_candidate, loss, torch.inf))[:, None]
        positive = is_candidate & (loss <= limit)
        would_be = (ious >= 0.1) & (loss <= limit) & positive.any(0)
        return DenseClaims(owned.double(), positive | would_be)
