"""Whole costs of a pair, as parts that several rules take: OTA's, YOLOX's, RTMDet's and DETR's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from otadet.assigners.ops.costs import (
    BoxCost,
    ClassCost,
    DistanceCost,
    FocalCost,
    IoUCost,
    JointBCECost,
    PriorCost,
    QFLCost,
    relative_cost,
)
from otadet.assigners.ops.values import PairValues
from otadet.boxes import centers, giou
from otadet.structures import Anchors


class PairCost(ABC):
    """The cost of making an anchor positive for a box."""

    @abstractmethod
    def __call__(self, values: PairValues) -> Tensor:
        """(P,) less what the anchor costs as background."""

    @abstractmethod
    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """Of each class, what it adds to the cost of an anchor as background."""


@dataclass(frozen=True)
class OTACost(PairCost):
    """Class cost + `iou_weight` * box cost (Eq. 2), and what `prior_cost` says of the place, if anything."""

    iou_weight: float = 1.5
    """Weight of the box cost beside the class cost."""
    class_cost: ClassCost = field(default_factory=FocalCost)
    """Loss of a logit against 0 and 1."""
    box_cost: BoxCost = field(default_factory=IoUCost)
    """Loss of a predicted box."""
    prior_cost: PriorCost | None = None
    """Cost of an anchor far from the centre of the box; None: a candidate is as good as another."""

    @classmethod
    def yolox(cls) -> OTACost:
        """YOLOX's: cross entropy of sqrt(class * objectness), IoU weight 3. Its extra cost of others' anchors is not in
        it: that is of a candidate rule, `SimOTAAssigner.shared`."""
        return cls(3.0, JointBCECost(), IoUCost(eps=1e-8))

    @classmethod
    def rtmdet(cls) -> OTACost:
        """RTMDet's: quality focal loss against the IoU, IoU weight 3, a soft centre prior (Lyu et al., 2022)."""
        return cls(3.0, QFLCost(), IoUCost(eps=1e-7), DistanceCost())

    def __call__(self, values: PairValues) -> Tensor:
        cost = relative_cost(values, self.class_cost, self.box_cost, self.iou_weight)
        return cost if self.prior_cost is None else cost + self.prior_cost(values)

    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return self.class_cost.negative(logits, quality)


@dataclass(frozen=True)
class DETRCost(PairCost):
    """Focal class cost, L1 distance of the boxes and `-GIoU`, with the weights of Deformable DETR (Zhu et al., 2021).

    The L1 distance is that of centre, width and height, as parts of the input's width and height.
    """

    class_weight: float = 2.0
    """Of the class cost, less that of background."""
    l1_weight: float = 5.0
    """Of the L1 distance."""
    giou_weight: float = 2.0
    """Of `-GIoU`."""
    class_cost: ClassCost = field(default_factory=FocalCost)
    """Loss of a logit against 0 and 1."""

    def __call__(self, values: PairValues) -> Tensor:
        positive = self.class_cost.positive(values)
        negative = self.class_cost.negative(values.logits, values.quality)
        center = (centers(values.boxes) - centers(values.gt_boxes)).abs()
        extent = (_extent(values.boxes) - _extent(values.gt_boxes)).abs()
        distance = ((center + extent) / _input_size(values.anchors)).sum(-1)
        gious = giou(values.boxes, values.gt_boxes)
        return self.class_weight * (positive - negative) + self.l1_weight * distance - self.giou_weight * gious

    def negative(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        return self.class_weight * self.class_cost.negative(logits, quality)


def chosen_cost(cost: PairCost | None, iou_weight: float, class_cost: ClassCost, box_cost: BoxCost) -> PairCost:
    """The `cost` if there is one, else that of the other fields of a rule."""
    return OTACost(iou_weight, class_cost, box_cost) if cost is None else cost


def _extent(boxes: Tensor) -> Tensor:
    """(..., 4) -> (..., 2) width, height."""
    return boxes[..., 2:] - boxes[..., :2]


def _input_size(anchors: Anchors) -> Tensor:
    """(2,) width and height of the finest grid, in pixels."""
    height, width = anchors.level_sizes[0]
    return torch.stack((anchors.strides[0] * width, anchors.strides[0] * height))
