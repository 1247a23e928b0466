"""Synthetic shapes, drawn on first use: five classes in crowds, learned on a CPU in two minutes."""

from otadet.assigners import OTAAssigner
from otadet.data.dataset import DetectionDataset
from otadet.data.synthetic.write import write_synthetic
from otadet.exp import BaseExp


class Exp(BaseExp):
    data_dir = "datasets/synthetic"
    train_json, train_images = "annotations/instances_train.json", "train"
    val_json, val_images = "annotations/instances_val.json", "val"
    image_size: int = 160
    images_train: int = 1000
    images_val: int = 100
    workers, group_by_aspect = 0, False

    train_sizes, test_size, max_size = (160,), 160, 160
    depth, width, weights, channels, tower_depth = 10, 32, None, 48, 2
    coarse_from, anchor_offset = "c5", 0.5

    batch_size, optimizer, lr, weight_decay, weight_decay_on = 8, "adamw", 5e-3, 0.05, "weights"
    max_epochs, schedule, warmup_iterations, grad_clip, ema = 6, "cosine", 50, 10.0, 0.995
    eval_every = 3
    amp = True

    def build_assigner(self) -> OTAAssigner:
        return OTAAssigner()

    def build_train_dataset(self) -> DetectionDataset:
        self._draw()
        return super().build_train_dataset()

    def build_val_dataset(self) -> DetectionDataset:
        self._draw()
        return super().build_val_dataset()

    def _draw(self) -> None:
        write_synthetic(self.data_dir, images_train=self.images_train, images_val=self.images_val, size=self.image_size)
