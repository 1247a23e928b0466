"""Blood cells in smears (2 classes, 256 px), from scratch on a CPU: ResNet-18 of half the width, slim head, OTA."""

from otadet.assigners import OTAAssigner
from otadet.data.transforms import ColorJitter, Compose, RandomFlip, RandomTranspose, RandomZoom, Transform
from otadet.exp import BaseExp


class Exp(BaseExp):
    data_dir = "datasets/blood_cells"
    train_json, train_images = "annotations/instances_train.json", "images"
    val_json, val_images = "annotations/instances_val.json", "images"
    workers, group_by_aspect = 0, False

    train_sizes, test_size, max_size = (256,), 256, 256
    depth, width, weights, channels, tower_depth = 18, 32, None, 64, 2
    coarse_from, anchor_offset = "c5", 0.5

    batch_size, optimizer, lr, weight_decay, weight_decay_on = 8, "adamw", 3e-3, 0.05, "weights"
    max_epochs, schedule, warmup_iterations, grad_clip, ema = 60, "cosine", 100, 10.0, 0.995
    eval_every = 20
    amp = True

    def build_assigner(self) -> OTAAssigner:
        return OTAAssigner()

    def build_train_transform(self) -> Transform:
        zoom = RandomZoom(0.8, 1.5, self.build_input().pad_value)
        return Compose((zoom, RandomFlip(0.5, 0.5), RandomTranspose(), ColorJitter()))
