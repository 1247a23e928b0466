"""FCOS-R50-FPN with OTA, 1x on COCO 2017 (Tab. 1, last row but one). Paper: 40.7 AP.

Every value is that of the authors' released code; docs/reproduction.md has the differences that remain.
"""

from otadet.assigners import OTAAssigner
from otadet.exp import BaseExp


class Exp(BaseExp):
    train_sizes = (800,)
    max_size = 1333
    group_by_aspect = True
    depth, weights = 50, "imagenet"
    coarse_from, anchor_offset = "p5", 0.0
    quality, box_weight, quality_weight, box_weighting = "iou", 2.0, 0.5, "none"
    batch_size, lr, momentum, weight_decay, weight_decay_on = 16, 0.01, 0.9, 1e-4, "no_norms"
    max_iterations, steps, warmup_iterations = 90_000, (60_000, 80_000), 1000
    score_threshold, topk_per_level, nms_iou, max_detections, rank_by = 0.05, 1000, 0.6, 100, "score"

    def build_assigner(self) -> OTAAssigner:
        return OTAAssigner(radius=2.5, top_q=20, iou_weight=1.5, eps=0.1, iterations=50)
