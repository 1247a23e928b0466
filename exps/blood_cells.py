"""Blood cells in smears (2 classes, 256 px), from scratch on a CPU: ResNet-18 of half the width, slim head, OTA."""

from otadet.data.transforms import ColorJitter, RandomFlip, RandomTranspose, RandomZoom
from otadet.exp import FCOS, AdamW, BaseExp, Cosine, DataFolder, Epochs, InputSpec, ResizeShortestEdge, ResNet, Run


class Exp(BaseExp):
    data = DataFolder("datasets/blood_cells")
    input = InputSpec(ResizeShortestEdge((256,), 256))
    augment = (RandomZoom(0.8, 1.5), RandomFlip(0.5, 0.5), RandomTranspose(), ColorJitter())
    model = FCOS(ResNet(18, width=32, weights=None), channels=64, tower_depth=2, coarse_from="c5", anchor_offset=0.5)
    optimizer = AdamW(lr=3e-3, weight_decay=0.05, weight_decay_on="weights")
    schedule = Cosine(warmup=100)
    length = Epochs(60)
    run = Run(batch_size=8, workers=0, group_by_aspect=False, amp=True, grad_clip=10.0, ema=0.995, eval_every=20)
