"""What the experiments of YOLOX's family have in common."""

from __future__ import annotations

from otadet.assigners import Assigner, OTAAssigner
from otadet.assigners.ops.costs import IoUCost, JointBCECost
from otadet.data.sample import TrainTransform
from otadet.data.transforms import (
    Letterbox,
    Mosaic,
    MultiScale,
    RandomAffine,
    RandomFlip,
    RandomHSV,
    ResizeShortestEdge,
    Until,
)
from otadet.exp.base import BaseExp
from otadet.exp.families import FCOS, YOLOX, RetinaNet
from otadet.exp.losses import BCEIoU, FocalGIoU, FreeAnchor
from otadet.exp.run import Run
from otadet.inference.input_spec import InputSpec
from otadet.inference.postprocess import Postprocess
from otadet.optim.length import Epochs, Iterations
from otadet.optim.optimizer import SGD, AdamW
from otadet.optim.schedule import Cosine, Steps

NO_MOSAIC = 0.95
"""Share of the training that the mosaic lasts: all but the last 15 of 300 epochs, as published."""


def yolox_input(side: int) -> InputSpec:
    """A letterbox of that many pixels, as YOLOX's networks see it: 0-255, not normalised."""
    return InputSpec(
        Letterbox((side, side), shrink="linear", rounding="down"), (0.0,) * 3, (1.0,) * 3, padding=(114, 114, 114)
    )


def yolox_sizes(side: int) -> MultiScale:
    """Sides from 160 pixels less to 160 more, in steps of 32, one per iteration: as published 480 for nano and tiny."""
    return MultiScale(tuple(Letterbox((size, size)) for size in range(side - 160, side + 161, 32)))


class YOLOXExp(BaseExp):
    """YOLOX-s with OTA on COCO 2017: OTA solves with YOLOX's costs and candidates near the centre of each box.

    300 epochs of which the first 5 warm up, mosaic, scale, colours and flips, averaged weights (Ge et al., 2021). The
    rate is 0.01 for 64 images.
    """

    input: InputSpec = yolox_input(640)
    train_resize: ResizeShortestEdge | Letterbox | MultiScale | None = yolox_sizes(640)
    augment: tuple[TrainTransform, ...] = (
        Until(NO_MOSAIC, Mosaic(scale=(0.5, 1.5))),
        RandomAffine(degrees=0.0, translate=0.1, scale=(0.5, 1.5)),
        RandomHSV(),
        RandomFlip(0.5),
    )
    model: FCOS | RetinaNet | YOLOX = YOLOX(0.33, 0.5)
    assigner: Assigner | None = OTAAssigner(
        radius=2.5, top_q=10, iou_weight=3.0, class_cost=JointBCECost(), box_cost=IoUCost(eps=1e-8)
    )
    loss: FocalGIoU | BCEIoU | FreeAnchor = BCEIoU(l1_from=NO_MOSAIC)
    optimizer: SGD | AdamW = SGD(lr=0.01, momentum=0.9, weight_decay=5e-4, weight_decay_on="weights")
    schedule: Steps | Cosine = Cosine(final=0.05, warmup=1 / 60)
    length: Iterations | Epochs = Epochs(300)
    postprocess: Postprocess = Postprocess(0.01, nms_iou=0.65, score="product", classes="best")
    run: Run = Run(batch_size=64, group_by_aspect=False, amp=True, ema=0.9998, eval_every=10)
