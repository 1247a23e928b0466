"""From an experiment to a finished run, in its output folder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch
from loguru import logger

from otadet.apps.beginning import read_beginning
from otadet.apps.caching import check_cache
from otadet.apps.compose import build_datasets, build_trainer
from otadet.apps.fit_batch import with_fitting_batch
from otadet.apps.results import draw_results
from otadet.apps.start import Start
from otadet.apps.training_log import log_adopted, log_data, log_device, log_left_out
from otadet.apps.validation import Validation
from otadet.data.dataset import DetectionDataset
from otadet.distributed import from_main, is_main, rank, world_size
from otadet.engine.log import configure_log
from otadet.engine.precision import agree_on_precision, choose_precision
from otadet.engine.run_folder import RUN_FILES, archive_previous_run, run_folder
from otadet.engine.trainer import Trainer
from otadet.errors import OutputError, UserError
from otadet.evaluation.report import format_result
from otadet.exp import BaseExp
from otadet.exp.pretrained import input_advice
from otadet.files import remove_temporaries


def train_experiment(exp: BaseExp, device: torch.device, start: Start) -> bool:
    """Train the model of `exp`, evaluating it as it goes, and draw curves and predictions at the end.

    Every process of a distributed training calls this with its own device. What the output folder held of an earlier
    run is moved aside unless that run is resumed. Returns whether the end was reached; False after Ctrl-C or SIGTERM.
    Raises `UserError`.
    """
    configure_log(quiet=not is_main())
    if exp.run.batch_size % world_size():
        raise UserError(f"batch_size {exp.run.batch_size}: must be a multiple of the {world_size()} devices")
    with ExitStack() as folder:
        from_main(lambda: folder.enter_context(run_folder(start.output)))
        return _train_in_folder(exp, device, start)


def _train_in_folder(exp: BaseExp, device: torch.device, start: Start) -> bool:
    """`train_experiment` in an output folder that is this training's alone."""
    precision = agree_on_precision(choose_precision(device, amp=exp.run.amp, name=exp.run.amp_dtype))
    # Read first, since a wrong file is better found before all images are looked at.
    beginning = read_beginning(exp, start)
    advice = input_advice(exp) if beginning.is_from_nothing else ""
    train_set, val_set = build_datasets(exp, beginning.classes_taken_over, beginning.classes_resumed(exp))
    exp, reasons = exp.for_data(train_set, world_size())
    batch_reason = ""
    if exp.run.auto_batch:
        exp, batch_reason = with_fitting_batch(exp, train_set, device, precision, beginning.values_resumed())
    model = beginning.network(exp, len(train_set.class_names)).to(device)
    # Only in the main process: the others get its weights.
    adopted = beginning.take_over(model, train_set.class_names)
    torch.manual_seed(exp.run.seed + rank())
    validation = Validation(exp, val_set)
    left_out: dict[int, str] = {}
    trainer = build_trainer(exp, model, train_set, validation, device, start.output, precision, left_out)
    validation.stop = trainer.stop
    from_main(lambda: check_cache(exp.run))
    from_main(lambda: _open_output(start.output, is_new=beginning.resume is None))
    beginning.go_on(trainer)
    log_data(exp, train_set, val_set, reasons)
    if batch_reason:
        logger.info(f"batch auto: {batch_reason}")
    for line in filter(None, (advice, validation.advice)):
        logger.warning(line)
    if adopted is not None:
        log_adopted(beginning.weights, adopted)
    log_device(device, precision, start.insist_on_amp)
    try:
        return _train_and_draw(exp, trainer, validation, val_set, left_out)
    except OutputError as error:
        raise OutputError(f"{error}. {trainer.what_is_safe()}") from error


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
