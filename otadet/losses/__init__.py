"""Training losses."""

from otadet.losses.detection import DetectionLoss, centerness_target, iou_target
from otadet.losses.free_anchor import FreeAnchorLoss
from otadet.losses.yolox import YOLOXLoss

__all__ = ["DetectionLoss", "FreeAnchorLoss", "YOLOXLoss", "centerness_target", "iou_target"]
