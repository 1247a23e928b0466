"""What the log of a training says of its data, its schedule and its device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from loguru import logger

from otadet.data.dataset import DetectionDataset
from otadet.distributed import gather_objects, processes_on_this_machine, world_size
from otadet.engine.adopt import Adopted
from otadet.engine.cores import too_many_workers
from otadet.engine.precision import Precision
from otadet.exp import BaseExp
from otadet.names import one_agrees

_NAMED_AT_MOST = 20


def log_data(exp: BaseExp, train_set: DetectionDataset, val_set: DetectionDataset, reasons: Sequence[str] = ()) -> None:
    """What the data sets hold, and how they are gone through. reasons: of what was chosen for them."""
    for note in dict.fromkeys((*train_set.notes, *val_set.notes)):
        logger.info(f"data: {note}")
    logger.info(f"training set: {train_set.summary()}")
    logger.info(f"validation set: {val_set.summary()}")
    for name, dataset in (("training", train_set), ("validation", val_set)):
        for line in dataset.warnings:
            logger.warning(f"{name} set: {line}")
    logger.info(f"classes: {', '.join(train_set.class_names)}")
    for reason in reasons:
        logger.info(f"recipe: {one_agrees(reason)}")
    share = f", {exp.run.batch_size // world_size()} per device" if world_size() > 1 else ""
    run = exp.run
    steps = f", {run.accumulate} batches and so {run.images_per_step} images per step" if run.accumulate > 1 else ""
    loaders = f"{run.workers} loader process{'' if run.workers == 1 else 'es'}"
    logger.info(one_agrees(f"batch: {run.batch_size} images{share}{steps}; {loaders}"))
    if (crowded := too_many_workers(exp.run.workers, processes_on_this_machine())) is not None:
        logger.warning(crowded)
    warn_of_schedule(exp, len(train_set))


def log_adopted(path: object, adopted: Adopted) -> None:
    """What of the checkpoint at `path` the training starts with."""
    log = logger.warning if adopted.misfit else logger.info
    log(f"start: {path}: {adopted}")


def warn_of_schedule(exp: BaseExp, images: int) -> None:
    """Say what of the schedule never happens."""
    length, schedule = exp.iterations(images), exp.build_schedule(images)
    warmup, steps = getattr(schedule, "warmup", 0), getattr(schedule, "steps", ())
    if warmup >= length:
        logger.warning(
            f"the warm-up of {warmup} iterations is as long as the training, so that lr {exp.optimizer.lr:g} is never "
            "reached; lower schedule.warmup, such as 0.05 for a twentieth of the training"
        )
    if late := [step for step in steps if step >= length]:
        logger.warning(
            f"schedule.at: the training ends at iteration {length}, before {', '.join(map(str, late))}; give shares of "
            "the training, such as 0.67,0.89"
        )


def log_device(device: torch.device, precision: Precision, insist_on_amp: bool) -> None:
    """What computes, and in which precision. insist_on_amp: warn where mixed precision was asked for and left out."""
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else device.type
    threads = "" if cuda else f", threads {torch.get_num_threads()}"
    logger.info(f"device: {world_size()} x {name}{threads}, {precision}")
    if insist_on_amp and precision.amp_dtype is None:
        logger.warning(
            f"--amp: {precision.reason}; so the training is in fp32. Omit --amp, "
            "or have it in spite of that by amp_dtype bf16"
        )
    if precision.warning is not None:
        logger.warning(precision.warning)


def log_left_out(left_out: dict[int, str]) -> None:
    """Name the images that any process has left out. Until now only those of the main process were named."""
    found = {index: message for share in gather_objects(left_out) for index, message in share.items()}
    if found:
        listed = "".join(f"\n  {found[index]}" for index in sorted(found)[:_NAMED_AT_MOST])
        more = f"\n  and {len(found) - _NAMED_AT_MOST} more" if len(found) > _NAMED_AT_MOST else ""
        logger.warning(f"{len(found)} images of the training set became unreadable and were left out:{listed}{more}")
