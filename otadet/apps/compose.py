"""What an experiment's parts make together: its data sets, and the trainer with its step and loader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn

from otadet.apps.batches import train_batches
from otadet.apps.reading import data_advice
from otadet.apps.validation import Validation
from otadet.data.batch import Batch
from otadet.data.dataset import DetectionDataset
from otadet.distributed import from_main, rank, world_size
from otadet.engine.freezing import freeze, still_norms
from otadet.engine.precision import Precision, choose_precision
from otadet.engine.settings import TrainSettings
from otadet.engine.train_step import TrainStep
from otadet.engine.trainer import Trainer
from otadet.exp import BaseExp
from otadet.models.detector import as_detector


def build_datasets(
    exp: BaseExp, trained: Sequence[str] = (), class_names: Sequence[str] | None = None
) -> tuple[DetectionDataset, DetectionDataset]:
    """The training and the validation set, with the same labels; read by the main process alone.

    trained: classes of the weights to start from, whose order is taken where the data has the same. class_names: by
    label, in place of those of the data. Raises `UserError` where there is no box to train on.
    """

    def build() -> tuple[DetectionDataset, DetectionDataset]:
        train_set = exp.build_train_dataset(class_names)
        if sorted(train_set.class_names) == sorted(trained):
            train_set = train_set.with_class_order(trained)
        train_set.check_trainable()
        # The order of the classes is the training set's, whatever it is in the other file.
        return train_set, exp.build_val_dataset(train_set.class_names)

    return from_main(build)


def build_trainer(
    exp: BaseExp,
    model: nn.Module,
    train_set: DetectionDataset,
    evaluate: Validation | None,
    device: torch.device,
    output: str | Path,
    precision: Precision | None = None,
    left_out: dict[int, str] | None = None,
) -> Trainer:
    """The trainer of an experiment.

    Args:
        exp: the experiment, with a batch size that is a number.
        model: on `device` already; it becomes the trainer's own.
        train_set: what is trained on.
        evaluate: None: nothing is evaluated.
        device: of this process.
        output: the folder of the run.
        precision: None: what is best on `device`.
        left_out: as in `train_loader`.
    """
    run, size = exp.run, len(train_set)
    precision = precision or choose_precision(device, amp=run.amp, name=run.amp_dtype)
    settings = _settings(exp, size, evaluate)
    transform = exp.build_train_transform()

    def batches(start: int) -> Iterable[Batch]:
        return train_batches(
            exp,
            train_set,
            transform,
            as_detector(model).size_divisor,
            start_iteration=start,
            rank=rank(),
            world_size=world_size(),
            workers=run.workers,
            pin_memory=device.type == "cuda",
            left_out=left_out,
            stop=lambda: trainer.stop.requested,
        )

    trainer = Trainer(
        build_step(exp, model, size, device, precision),
        batches,
        settings,
        output=output,
        evaluate=evaluate,
        class_names=train_set.class_names,
        parts=exp.describe(),
        experiment=exp.about(),
    )
    return trainer


def _settings(exp: BaseExp, dataset_size: int, validation: Validation | None) -> TrainSettings:
    run = exp.run
    return TrainSettings(
        iterations=exp.iterations(dataset_size),
        iterations_per_epoch=dataset_size / run.images_per_step,
        eval_every=max(1.0, run.eval_every * dataset_size / run.images_per_step) if run.eval_every else None,
        log_every=run.log_every,
        save_every=run.save_every,
        best_by="AP" if validation is None else validation.best_by,
        lower_is_better=validation is not None and validation.lower_is_better,
        of_training=validation is not None and validation.of_training,
        patience=run.patience,
        data_advice=data_advice(exp),
    )


def build_step(
    exp: BaseExp, model: nn.Module, dataset_size: int, device: torch.device, precision: Precision
) -> TrainStep:
    """What makes the steps of a training on a data set of this many images; `model` becomes its own."""
    freeze(model, exp.run.freeze)
    return TrainStep(
        model,
        exp.build_loss(),
        exp.build_optimizer(model),
        exp.build_schedule(dataset_size),
        exp.input.pixel_norm(torch.channels_last if precision.channels_last else torch.contiguous_format),
        device,
        amp_dtype=precision.amp_dtype,
        channels_last=precision.channels_last,
        grad_clip=exp.run.grad_clip,
        ema_decay=exp.run.ema,
        iterations=exp.iterations(dataset_size),
        accumulate=exp.run.accumulate,
        still_norms=still_norms(model, exp.run.freeze, all_of_them=exp.run.freeze_norms),
    )
