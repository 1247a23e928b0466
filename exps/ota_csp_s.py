"""YOLOX-s's network with OTA, 300 epochs on COCO 2017 at 640 px. YOLOX-s itself, with SimOTA: 40.5 AP."""

from otadet.exp import YOLOXExp


class Exp(YOLOXExp):
    pass
