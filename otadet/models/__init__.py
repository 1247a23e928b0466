"""Backbone, neck and head; `Detector` puts them together."""

from otadet.models.anchors import AnchorGrid
from otadet.models.backbones.resnet import ResNet, build_resnet
from otadet.models.detector import Detector
from otadet.models.heads.fcos import FCOSHead
from otadet.models.heads.retinanet import RetinaNetHead
from otadet.models.necks.fpn import FPN

__all__ = ["FPN", "AnchorGrid", "Detector", "FCOSHead", "ResNet", "RetinaNetHead", "build_resnet"]
