"""Training losses."""

from otadet.losses.detection import DetectionLoss, centerness_target, iou_target
from otadet.losses.free_anchor import FreeAnchorLoss

__all__ = ["DetectionLoss", "FreeAnchorLoss", "centerness_target", "iou_target"]
