"""The batches of an experiment's training: for the training itself, and for those who want to see them."""

from __future__ import annotations

from typing import Any

from otadet.apps.reading import images_to_train_on
from otadet.data.dataset import DetectionDataset
from otadet.data.loader import BatchStream, train_loader
from otadet.data.sample import TrainTransform
from otadet.exp import BaseExp


def train_batches(
    exp: BaseExp, train_set: DetectionDataset, transform: TrainTransform, size_divisor: int, **options: Any
) -> BatchStream:
    """Those of the whole training, or from `start_iteration` on.

    Args:
        transform: what `exp.build_train_transform` returned.
        size_divisor: what the network wants the sides of images to be multiples of.
        options: of `train_loader`, such as `start_iteration` and `workers`; the experiment has no say in these.
    """
    return train_loader(
        images_to_train_on(exp, train_set, transform),
        transform,
        batch_size=exp.run.images_per_step,
        iterations=exp.iterations(len(train_set)),
        seed=exp.run.seed,
        group_by_aspect=exp.run.group_by_aspect,
        sampling=exp.sampling,
        pad_value=exp.input.pad_value,
        size_divisor=size_divisor,
        unreadable=exp.data.unreadable,
        **options,
    )
