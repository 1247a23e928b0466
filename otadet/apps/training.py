"""From an experiment to a finished run, in its output folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import nn

from otadet.apps.arguments import AUTO
from otadet.apps.compose import build_datasets, build_trainer
from otadet.apps.fit_batch import with_fitting_batch
from otadet.apps.results import draw_results
from otadet.apps.training_log import log_adopted, log_data, log_device, log_left_out
from otadet.apps.validation import Validation
from otadet.data.dataset import DetectionDataset
from otadet.distributed import broadcast_object, from_main, is_main, rank, world_size
from otadet.engine.adopt import Adopted, adopt, has_all_of
from otadet.engine.checkpoint import (
    ReadCheckpoint,
    load_checkpoint,
    load_training,
    newest_checkpoint,
    previous_checkpoint,
)
from otadet.engine.log import configure_log
from otadet.engine.older import values_of
from otadet.engine.precision import agree_on_precision, choose_precision
from otadet.engine.run_folder import RUN_FILES, archive_previous_run, run_folder
from otadet.engine.trainer import Trainer
from otadet.errors import OutputError, UserError
from otadet.evaluation.report import format_result
from otadet.exp import BaseExp
from otadet.exp.load import start_of, unread, without_start
from otadet.exp.pretrained import input_advice
from otadet.exp.start import read_start, start_from
from otadet.files import remove_temporaries
from otadet.names import names_as_trained


def train_experiment(
    exp: BaseExp,
    device: torch.device,
    output: str | Path,
    *,
    resume: str | Path | None = None,
    checkpoint: str | Path | None = None,
    insist_on_amp: bool = False,
    read: ReadCheckpoint | None = None,
) -> bool:
    """Train the model of `exp`, evaluating it as it goes, and draw curves and predictions at the end.

    Every process of a distributed training calls this with its own device. What the output folder held of an earlier
    run is moved aside unless that run is resumed.

    resume: checkpoint of a run to go on with; `AUTO`: the newest one in the output folder, where there is one.
    checkpoint: one whose weights, where they fit, are the start of a new run; a resumed one leaves it aside.
    insist_on_amp: warn where mixed precision is left out, as it would only hurt. read: the checkpoint of either, where
    it was read already. Returns whether the end was reached; False after Ctrl-C or SIGTERM. Raises `UserError`.
    """
    output = Path(output)
    configure_log(quiet=not is_main())
    if exp.run.batch_size % world_size():
        raise UserError(f"batch_size {exp.run.batch_size}: must be a multiple of the {world_size()} devices")
    with ExitStack() as folder:
        from_main(lambda: folder.enter_context(run_folder(output)))
        return _train_in(output, exp, device, resume, checkpoint, insist_on_amp, read)


def _train_in(
    output: Path,
    exp: BaseExp,
    device: torch.device,
    resume: str | Path | None,
    checkpoint: str | Path | None,
    insist_on_amp: bool,
    read: ReadCheckpoint | None = None,
) -> bool:
    """`train_experiment` in an output folder that is this training's alone."""
    precision = agree_on_precision(choose_precision(device, amp=exp.run.amp, name=exp.run.amp_dtype))
    # Read first, since a wrong file is better found before all images are looked at.
    if resume == AUTO:
        resume = from_main(lambda: newest_checkpoint(output))
        checkpoint = checkpoint if resume is None else None
    from_main(lambda: _check_there(resume, output))
    resumed = _read_on_main(load_training, resume, read)
    begin, load, take_over = _beginning(exp, resume, checkpoint)
    start = _read_on_main(load, begin, read)
    advice = input_advice(exp) if resume is None and begin is None else ""
    names = None if resumed is None else names_as_trained(exp.data.class_names, resumed["class_names"])
    train_set, val_set = build_datasets(exp, [] if start is None else start["class_names"], names)
    exp, reasons = exp.for_data(train_set, world_size())
    batch_reason = ""
    if exp.run.auto_batch:
        began_with = broadcast_object(None if resumed is None else values_of(resumed))
        exp, batch_reason = with_fitting_batch(exp, train_set, device, precision, began_with)
    model = _network(exp, len(train_set.class_names), resume, checkpoint, start).to(device)
    # Only in the main process: the others get its weights.
    adopted = None if start is None else take_over(model, begin, start, train_set.class_names)
    torch.manual_seed(exp.run.seed + rank())
    validation = Validation(exp, val_set)
    left_out: dict[int, str] = {}
    trainer = build_trainer(exp, model, train_set, validation, device, output, precision, left_out)
    validation.stop = trainer.stop
    from_main(lambda: _open_output(output, is_new=resume is None))
    if resume is not None:
        trainer.resume(resume, resumed)
    del resumed, start
    log_data(exp, train_set, val_set, reasons)
    if batch_reason:
        logger.info(f"batch auto: {batch_reason}")
    for line in filter(None, (advice, validation.advice)):
        logger.warning(line)
    if adopted is not None:
        log_adopted(begin, adopted)
    log_device(device, precision, insist_on_amp)
    try:
        return _train_and_draw(exp, trainer, validation, val_set, left_out)
    except OutputError as error:
        raise OutputError(f"{error}. {trainer.what_is_safe()}") from error


def _beginning(
    exp: BaseExp, resume: str | Path | None, checkpoint: str | Path | None
) -> tuple[str | Path | None, Callable[..., dict[str, Any]], Callable[..., Adopted]]:
    """The checkpoint that a new run begins with, and how it is read and taken over; None without one.

    One that the experiment names must fit, but for its classes; of another what fits is taken.
    """
    own = start_of(exp)
    given = checkpoint if resume is None else resume
    if own is not None and given is None:
        return own, lambda path, state: read_start(path), start_from
    if own is not None:
        logger.info(f"model.weights {own} is not read: {given} has all weights")
    return checkpoint, lambda path, state: state or load_checkpoint(path), adopt


def _network(
    exp: BaseExp,
    classes: int,
    resume: str | Path | None,
    checkpoint: str | Path | None,
    start: Mapping[str, Any] | None,
) -> nn.Module:
    """The network with its initial weights; those of a backbone are read only where no checkpoint replaces them all.

    start: what the `checkpoint` holds, in the main process.
    """
    torch.manual_seed(exp.run.seed)
    if resume is None and checkpoint is None:
        return without_start(exp).build_model(classes)
    network = unread(exp).build_model(classes)
    if resume is not None or from_main(lambda: start is not None and has_all_of(start, network, "backbone")):
        return network
    torch.manual_seed(exp.run.seed)
    return without_start(exp).build_model(classes)


def _read_on_main(
    load: Callable[[str | Path, dict[str, Any] | None], dict[str, Any]],
    path: str | Path | None,
    read: ReadCheckpoint | None,
) -> dict[str, Any] | None:
    """What a checkpoint holds; None without one, and in all but the main process.

    Only the main process's disk need have it.
    """
    if path is None:
        return None
    state: list[dict[str, Any]] = []
    there = path
    from_main(lambda: state.append(load(there, None if read is None else read.take(there))))
    return state[0] if state else None


def _check_there(resume: str | Path | None, output: Path) -> None:
    """Raise `UserError` where the checkpoint to resume is to be in the output folder, and is not."""
    if resume is None or (path := Path(resume)).parent != output:
        return
    if not os.path.exists(path):
        previous = previous_checkpoint(path)
        instead = f"go on from its predecessor, --resume {previous}, or " if os.path.exists(previous) else ""
        raise UserError(f"{path}: no such file, so there is nothing to resume; {instead}omit --resume to start")


def _open_output(output: Path, *, is_new: bool) -> None:
    if is_new:
        archive_previous_run(output)
    remove_temporaries(*(output / name for name in RUN_FILES))
    configure_log(output / "train.log")


def _train_and_draw(
    exp: BaseExp, trainer: Trainer, validation: Validation, val_set: DetectionDataset, left_out: dict[int, str]
) -> bool:
    finished = trainer.train()
    log_left_out(left_out)
    try:
        if finished and trainer.stop.requested:
            raise KeyboardInterrupt
        if finished and is_main():
            if validation.result is not None:
                logger.info(f"validation set, final weights:\n{format_result(validation.result, per_class=True)}")
            draw_results(exp, trainer, val_set)
    except KeyboardInterrupt:
        logger.warning(
            "stopped after the last iteration: all is saved, the pictures alone are missing; "
            "the same command with --resume draws them"
        )
        return False
    except OutputError:
        raise
    except UserError as error:
        raise UserError(f"{error}\n{trainer.what_is_safe()}") from error
    return finished
