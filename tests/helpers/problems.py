"""Random problems for the assigners."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from otadet.models import AnchorGrid
from otadet.structures import Anchors, GroundTruth, Predictions

STRIDES = (8, 16, 32, 64, 128)


def make_anchors(height: int, width: int, **shapes: Any) -> Anchors:
    """shapes: arguments of `AnchorGrid`."""
    features = [torch.empty(1, 1, -(-height // stride), -(-width // stride)) for stride in STRIDES]
    return AnchorGrid(STRIDES, **shapes)(features, (height, width))


def make_truth(generator: torch.Generator, num_boxes: int, num_classes: int, height: int, width: int) -> GroundTruth:
    """Boxes of 10 to 300 pixels, log-uniform, clipped to the image."""
    center = torch.rand(num_boxes, 2, generator=generator) * torch.tensor([width, height])
    size = torch.exp(2.3 + 3.4 * torch.rand(num_boxes, 2, generator=generator))
    limit = torch.tensor([width, height]).repeat(2)
    boxes = torch.cat((center - size / 2, center + size / 2), 1).clamp(min=0).minimum(limit)
    return GroundTruth(boxes, torch.randint(num_classes, (num_boxes,), generator=generator))


def early_predictions(generator: torch.Generator, anchors: Anchors, num_images: int, num_classes: int) -> Predictions:
    """What an untrained network says: low scores everywhere, boxes of a few strides."""
    num_anchors = len(anchors.points)
    logits = -4.6 + 0.1 * torch.randn(num_images, num_anchors, num_classes, generator=generator)
    sides = torch.rand(num_images, num_anchors, 4, generator=generator) * 3 * anchors.strides[:, None]
    boxes = torch.cat((anchors.points - sides[..., :2], anchors.points + sides[..., 2:]), -1)
    return Predictions(logits, boxes, torch.randn(num_images, num_anchors, generator=generator))


def late_predictions(
    generator: torch.Generator, anchors: Anchors, truths: list[GroundTruth], num_classes: int
) -> Predictions:
    """What a trained network says: each anchor follows the object whose centre is nearest, with some error."""
    images = [_follow_nearest(generator, anchors, truth, num_classes) for truth in truths]
    logits, boxes = (torch.stack(parts) for parts in zip(*images, strict=True))
    return Predictions(logits, boxes, torch.randn(boxes.shape[:2], generator=generator))


def _follow_nearest(
    generator: torch.Generator, anchors: Anchors, truth: GroundTruth, num_classes: int
) -> tuple[Tensor, Tensor]:
    num_anchors = len(anchors.points)
    logits = -5 + 2 * torch.randn(num_anchors, num_classes, generator=generator)
    nearest = torch.cdist(anchors.points, (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2).argmin(1)
    boxes = truth.boxes[nearest] + 6 * torch.randn(num_anchors, 4, generator=generator)
    logits[torch.arange(num_anchors), truth.labels[nearest]] += 8 * torch.rand(num_anchors, generator=generator)
    return logits, boxes


def random_problem(
    generator: torch.Generator,
    num_boxes: int,
    num_classes: int,
    height: int = 256,
    width: int = 320,
    num_images: int = 1,
    late: bool = True,
) -> tuple[Predictions, Anchors, list[GroundTruth]]:
    anchors = make_anchors(height, width)
    truths = [make_truth(generator, num_boxes, num_classes, height, width) for _ in range(num_images)]
    if late and num_boxes:
        return late_predictions(generator, anchors, truths, num_classes), anchors, truths
    return early_predictions(generator, anchors, num_images, num_classes), anchors, truths
