"""FCOS-R50-FPN with SimOTA in OTA's place: the same costs and prior, each box takes its k cheapest candidates."""

from otadet.assigners import SimOTAAssigner
from otadet.exp import BaseExp


class Exp(BaseExp):
    assigner = SimOTAAssigner(radius=2.5, top_q=20, iou_weight=1.5)
