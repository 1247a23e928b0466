"""FCOS-R101-FPN with OTA, 2x on COCO 2017 with a shorter side of 640 to 800 (Tab. 5). Paper: 45.3 AP on test-dev.

The released configuration of this backbone, of 1x and 800 alone, has `loss.box_weighting quality`.
"""

from otadet.exp import FCOS, BaseExp, Iterations, ResizeShortestEdge, ResNet, Steps


class Exp(BaseExp):
    train_resize = ResizeShortestEdge(tuple(range(640, 801)), 1333)
    model = FCOS(ResNet(101, weights="imagenet"))
    schedule = Steps(at=(120_000, 160_000), warmup=1000)
    length = Iterations(180_000)
