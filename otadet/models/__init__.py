"""Backbone, neck and head; `Detector` puts them together."""

from otadet.models.anchors import AnchorGrid
from otadet.models.backbones.csp_darknet import CSPDarknet
from otadet.models.backbones.resnet import ResNet, build_resnet
from otadet.models.detector import Detector
from otadet.models.heads.fcos import FCOSHead
from otadet.models.heads.retinanet import RetinaNetHead
from otadet.models.heads.yolox import YOLOXHead
from otadet.models.necks.fpn import FPN
from otadet.models.necks.pafpn import PAFPN

__all__ = [
    "FPN",
    "PAFPN",
    "AnchorGrid",
    "CSPDarknet",
    "Detector",
    "FCOSHead",
    "ResNet",
    "RetinaNetHead",
    "YOLOXHead",
    "build_resnet",
]
