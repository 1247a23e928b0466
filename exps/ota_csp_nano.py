"""YOLOX-nano's network with OTA, 300 epochs on COCO 2017 at 416 px. YOLOX-nano itself, with SimOTA: 25.8 AP."""

from otadet.exp import YOLOX, YOLOXExp, yolox_input, yolox_sizes


class Exp(YOLOXExp):
    input = yolox_input(416)
    train_resize = yolox_sizes(480)
    model = YOLOX(0.33, 0.25, depthwise=True)
