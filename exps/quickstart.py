"""Synthetic shapes, drawn on first use: five classes in crowds, learned on a CPU in two minutes."""

from otadet.exp import FCOS, AdamW, BaseExp, Cosine, Epochs, InputSpec, ResizeShortestEdge, ResNet, Run, SyntheticShapes


class Exp(BaseExp):
    data = SyntheticShapes("datasets/synthetic", image_size=160, images_train=1000, images_val=100)
    input = InputSpec(ResizeShortestEdge((160,), 160))
    model = FCOS(ResNet(10, width=32, weights=None), channels=48, tower_depth=2, coarse_from="c5", anchor_offset=0.5)
    optimizer = AdamW(lr=5e-3, weight_decay=0.05, weight_decay_on="weights")
    schedule = Cosine(warmup=50)
    length = Epochs(6)
    run = Run(batch_size=8, workers=0, group_by_aspect=False, amp=True, grad_clip=10.0, ema=0.995, eval_every=3)
