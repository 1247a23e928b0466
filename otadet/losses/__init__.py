"""Training losses."""

from otadet.losses.class_loss import BCE, MAL, QFL, VFL, ClassLoss, FocalLoss
from otadet.losses.common import SummedLoss, Sums
from otadet.losses.detection import DetectionLoss, centerness_target, iou_target
from otadet.losses.free_anchor import FreeAnchorLoss
from otadet.losses.yolox import YOLOXLoss

__all__ = [
    "BCE",
    "MAL",
    "QFL",
    "VFL",
    "ClassLoss",
    "DetectionLoss",
    "FocalLoss",
    "FreeAnchorLoss",
    "SummedLoss",
    "Sums",
    "YOLOXLoss",
    "centerness_target",
    "iou_target",
]
