"""FCOS with OTA on a ResNeXt-101 64x4d, 2x on COCO 2017 with a shorter side of 640 to 800 (Tab. 5).

Paper: 47.0 AP on test-dev.
"""

from otadet.exp import FCOS, BaseExp, Iterations, ResizeShortestEdge, ResNet, Steps


class Exp(BaseExp):
    train_resize = ResizeShortestEdge(tuple(range(640, 801)), 1333)
    model = FCOS(ResNet(101, weights="imagenet", groups=64, width_per_group=4))
    schedule = Steps(at=(120_000, 160_000), warmup=1000)
    length = Iterations(180_000)
