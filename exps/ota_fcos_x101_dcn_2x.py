"""`ota_fcos_x101_2x.py` with DCNv2 in C4, C5 and the last convolution of each tower (Tab. 5).

Paper: 49.2 AP on test-dev, 51.5 with multi-scale testing (`otadet eval --tta`).
"""

from otadet.exp import FCOS, BaseExp, Iterations, ResizeShortestEdge, ResNet, Steps


class Exp(BaseExp):
    train_resize = ResizeShortestEdge(tuple(range(640, 801)), 1333)
    model = FCOS(
        ResNet(101, weights="imagenet", groups=64, width_per_group=4, deformable_stages=(3, 4)), deformable_towers=True
    )
    schedule = Steps(at=(120_000, 160_000), warmup=1000)
    length = Iterations(180_000)
