"""From an experiment to a finished run: composes data, model and trainer, and draws the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loguru import logger
from torch import nn

from otadet.data.batch import Batch
from otadet.data.dataset import DetectionDataset
from otadet.data.loader import train_loader
from otadet.data.sample import Sample
from otadet.distributed import from_main, gather_objects, is_main, processes_on_this_machine, rank, world_size
from otadet.engine.checkpoint import (
    load_checkpoint,
    load_training,
    load_weights,
    newest_checkpoint,
    previous_checkpoint,
    put_weights,
)
from otadet.engine.cores import too_many_workers
from otadet.engine.log import configure_log
from otadet.engine.precision import Precision, agree_on_precision, choose_precision
from otadet.engine.run_folder import RUN_FILES, archive_previous_run, run_folder
from otadet.engine.stop import EvaluationStopped, StopRequest
from otadet.engine.train_step import TrainStep
from otadet.engine.trainer import NO_SCORE, Trainer, TrainSettings
from otadet.errors import OutputError, UserError
from otadet.evaluation.coco import CocoResult
from otadet.evaluation.evaluator import Interrupted, evaluate
from otadet.evaluation.report import format_result
from otadet.exp import SCORES, BaseExp
from otadet.files import remove_temporaries
from otadet.inference.predictor import Predictor
from otadet.models.detector import as_detector
from otadet.names import names_as_trained
from otadet.optim.schedule import iterations_for
from otadet.structures import GroundTruth
from otadet.visualize.curves import plot_curves
from otadet.visualize.detections import prediction_sheet

AUTO = "auto"
"""In place of a checkpoint to resume: go on with what the output folder has, else start."""
_NAMED_AT_MOST = 20
SHEET_IMAGES = 12
SHEET_SCORE = 0.5
"""Detections with a lower score are left out of the sheet."""


def train_experiment(
    exp: BaseExp,
    device: torch.device,
    output: str | Path,
    *,
    resume: str | Path | None = None,
    checkpoint: str | Path | None = None,
    insist_on_amp: bool = False,
) -> bool:
    """Train the model of `exp`, evaluating it as it goes, and draw curves and predictions at the end.

    Every process of a distributed training calls this with its own device. What the output folder held of an earlier
    run is moved aside unless that run is resumed.

    resume: checkpoint of a run to go on with; `AUTO`: the newest one in the output folder, where there is one.
    checkpoint: one whose weights, where they fit, are the start of a new run. insist_on_amp: warn where mixed
    precision is left out, as it would only hurt. Returns whether the end was reached; False after Ctrl-C or SIGTERM.
    Raises `UserError`.
    """
    output = Path(output)
    configure_log(quiet=not is_main())
    if exp.batch_size % world_size():
        raise UserError(f"batch_size {exp.batch_size}: must be a multiple of the {world_size()} devices")
    with ExitStack() as folder:
        from_main(lambda: folder.enter_context(run_folder(output)))
        return _train_in(output, exp, device, resume, checkpoint, insist_on_amp)


def _train_in(
    output: Path,
    exp: BaseExp,
    device: torch.device,
    resume: str | Path | None,
    checkpoint: str | Path | None,
    insist_on_amp: bool,
) -> bool:
    """`train_experiment` in an output folder that is this training's alone."""
    precision = agree_on_precision(choose_precision(device, amp=exp.amp, name=exp.amp_dtype))
    # Read first, since a wrong file is better found before all images are looked at.
    if resume == AUTO:
        resume = from_main(lambda: newest_checkpoint(output))
    from_main(lambda: _check_there(resume, output))
    resumed, start = _read_on_main(load_training, resume), _read_on_main(load_checkpoint, checkpoint)
    if resumed is not None:
        exp.class_names = names_as_trained(exp.class_names, resumed["class_names"])
    train_set, val_set = build_datasets(exp, [] if start is None else start["class_names"])
    torch.manual_seed(exp.seed)
    model = exp.build_model(len(train_set.class_names)).to(device)
    if start is not None and checkpoint is not None:
        # Only in the main process: the others get its weights.
        put_weights(model, checkpoint, start, strict=False)
    torch.manual_seed(exp.seed + rank())
    validation = Validation(exp, val_set)
    left_out: dict[int, str] = {}
    trainer = build_trainer(exp, model, train_set, validation, device, output, precision, left_out)
    validation.stop = trainer.stop
    from_main(lambda: _open_output(output, is_new=resume is None))
    if resume is not None:
        trainer.resume(resume, resumed)
    del resumed, start
    _log_data(exp, train_set, val_set)
    _log_device(device, precision, insist_on_amp)
    try:
        return _train_and_draw(exp, trainer, validation, val_set, left_out)
    except OutputError as error:
        raise OutputError(f"{error}. {trainer.what_is_safe()}") from error


def _read_on_main(load: Callable[[str | Path], dict[str, Any]], path: str | Path | None) -> dict[str, Any] | None:
    """What a checkpoint holds, in the main process, on whose disk alone it need be; elsewhere, or without one, None."""
    if path is None:
        return None
    state: list[dict[str, Any]] = []
    from_main(lambda: state.append(load(path)))
    return state[0] if state else None


def _check_there(resume: str | Path | None, output: Path) -> None:
    """Raise `UserError` where the output folder, called otherwise on another host perhaps, lacks its checkpoint."""
    if resume is None or (path := Path(resume)).parent != output:
        return
    if not os.path.exists(path):
        previous = previous_checkpoint(path)
        instead = f"go on from its predecessor, --resume {previous}, or " if os.path.exists(previous) else ""
        raise UserError(f"{path}: no such file, so there is nothing to resume; {instead}leave --resume away to start")


def _open_output(output: Path, *, is_new: bool) -> None:
    if is_new:
        archive_previous_run(output)
    remove_temporaries(*(output / name for name in RUN_FILES))
    configure_log(output / "train.log")


def _train_and_draw(
    exp: BaseExp, trainer: Trainer, validation: Validation, val_set: DetectionDataset, left_out: dict[int, str]
) -> bool:
    finished = trainer.train()
    _log_left_out(left_out)
    try:
        if finished and trainer.stop.requested:
            raise KeyboardInterrupt
        if finished and is_main():
            if validation.result is not None:
                logger.info(f"validation set, final weights:\n{format_result(validation.result, per_class=True)}")
            _draw_results(exp, trainer, val_set)
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


def build_datasets(exp: BaseExp, trained: Sequence[str] = ()) -> tuple[DetectionDataset, DetectionDataset]:
    """The training and the validation set, with the same labels; read by the main process alone.

    trained: classes of the weights to start from, whose order is taken where the data has the same. Raises `UserError`
    where there is no box to train on.
    """

    def build() -> tuple[DetectionDataset, DetectionDataset]:
        train_set = exp.build_train_dataset()
        if sorted(train_set.class_names) == sorted(trained):
            train_set = train_set.with_class_order(trained)
        # The order of the classes is the training set's, whatever it is in the other file.
        train_set.check_trainable()
        exp.class_names = train_set.class_names
        return train_set, exp.build_val_dataset()

    train_set, val_set = from_main(build)
    exp.class_names = train_set.class_names
    return train_set, val_set


def build_trainer(
    exp: BaseExp,
    model: nn.Module,
    train_set: DetectionDataset,
    evaluate: Callable[[nn.Module], dict[str, float]],
    device: torch.device,
    output: str | Path,
    precision: Precision | None = None,
    left_out: dict[int, str] | None = None,
) -> Trainer:
    """The trainer of an experiment. `model` is on `device` already; `evaluate` is as in `Trainer`.

    precision: None is what is best on `device`. left_out: as in `train_loader`.
    """
    precision = precision or choose_precision(device, amp=exp.amp, name=exp.amp_dtype)
    settings = TrainSettings(
        iterations=exp.iterations(len(train_set)),
        iterations_per_epoch=len(train_set) / exp.batch_size,
        eval_every=iterations_for(exp.eval_every, len(train_set), exp.batch_size) if exp.eval_every else None,
        log_every=exp.log_every,
        save_every=exp.save_every,
        best_by=exp.best_by,
    )
    spec = exp.build_input()
    transform = exp.build_train_transform()

    def batches(start: int) -> Iterable[Batch]:
        return train_loader(
            train_set,
            transform,
            batch_size=exp.batch_size,
            iterations=settings.iterations,
            start_iteration=start,
            seed=exp.seed,
            group_by_aspect=exp.group_by_aspect,
            rank=rank(),
            world_size=world_size(),
            workers=exp.workers,
            pad_value=spec.pad_value,
            size_divisor=as_detector(model).size_divisor,
            pin_memory=device.type == "cuda",
            unreadable=exp.unreadable,
            left_out=left_out,
            stop=lambda: trainer.stop.requested,
        )

    step = TrainStep(
        model,
        exp.build_loss(),
        exp.build_optimizer(model),
        exp.build_schedule(len(train_set)),
        spec.pixel_norm(),
        device,
        amp_dtype=precision.amp_dtype,
        channels_last=precision.channels_last,
        grad_clip=exp.grad_clip,
        ema_decay=exp.ema,
    )
    trainer = Trainer(
        step,
        batches,
        settings,
        output=output,
        evaluate=evaluate,
        class_names=train_set.class_names,
        experiment=exp.describe(),
    )
    return trainer


class Validation:
    """Measures a model on the validation set: each process predicts its share, the main one has the scores."""

    def __init__(self, exp: BaseExp, val_set: DetectionDataset) -> None:
        self.result: CocoResult | None = None
        """What the last call found, in the main process."""
        self.stop = StopRequest(quiet=True)
        """Who may ask for an end in the midst of it."""
        self._exp, self._val_set = exp, val_set
        self._left_out: dict[int, str] = {}

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The APs and the recall of 100 detections, without those that no object counts for; elsewhere nothing.

        Raises `EvaluationStopped` on all processes where any was asked to stop.
        """
        exp = self._exp
        try:
            # In fp32 whatever the training is in, as tools/eval.py has it: both give the same numbers.
            evaluation = evaluate(
                exp.build_pipeline(model, self._val_set.class_names),
                self._val_set,
                batch_size=max(1, exp.batch_size // world_size()),
                workers=exp.workers,
                unreadable=exp.unreadable,
                left_out=self._left_out,
                stop=lambda: self.stop.requested,
            )
        except Interrupted as error:
            raise EvaluationStopped from error
        if evaluation is None:
            return {}
        self.result = evaluation.result
        scores = {name: self.result.stats[name] for name in SCORES}
        return {name: score for name, score in scores.items() if score >= 0 or name in ("AP", exp.best_by)}


def _log_data(exp: BaseExp, train_set: DetectionDataset, val_set: DetectionDataset) -> None:
    logger.info(f"training set: {train_set.summary()}")
    logger.info(f"validation set: {val_set.summary()}")
    for name, dataset in (("training", train_set), ("validation", val_set)):
        for line in dataset.warnings:
            logger.warning(f"{name} set: {line}")
    logger.info(f"classes: {', '.join(train_set.class_names)}")
    share = f", {exp.batch_size // world_size()} a device" if world_size() > 1 else ""
    logger.info(f"batch: {exp.batch_size} images{share}; {exp.workers} loader processes")
    if (crowded := too_many_workers(exp.workers, processes_on_this_machine())) is not None:
        logger.warning(crowded)
    if exp.warmup_iterations >= exp.iterations(len(train_set)):
        logger.warning(
            f"the warm-up of {exp.warmup_iterations} iterations is as long as the training, so that lr {exp.lr:g} is "
            "never reached; lower warmup_iterations"
        )


def _log_device(device: torch.device, precision: Precision, insist_on_amp: bool) -> None:
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else device.type
    threads = "" if cuda else f", threads {torch.get_num_threads()}"
    logger.info(f"device: {world_size()} x {name}{threads}, {precision}")
    if insist_on_amp and precision.amp_dtype is None:
        logger.warning(
            f"--amp: {precision.reason}; so the training is in fp32. Leave --amp away, "
            "or have it in spite of that by amp_dtype bf16"
        )
    if precision.warning is not None:
        logger.warning(precision.warning)


def _log_left_out(left_out: dict[int, str]) -> None:
    """Those of all processes, of which each has named its own alone so far, and only the main one to the user."""
    found = {index: message for share in gather_objects(left_out) for index, message in share.items()}
    if found:
        listed = "".join(f"\n  {found[index]}" for index in sorted(found)[:_NAMED_AT_MOST])
        more = f"\n  and {len(found) - _NAMED_AT_MOST} more" if len(found) > _NAMED_AT_MOST else ""
        logger.warning(f"{len(found)} images of the training set became unreadable and were left out:{listed}{more}")


def _sample_to_draw(exp: BaseExp, val_set: DetectionDataset, row: int) -> Sample | None:
    try:
        return val_set.sample(row)
    except UserError:
        # Its evaluation has named it already.
        if exp.unreadable == "fail":
            raise
        return None


def _draw_results(exp: BaseExp, trainer: Trainer, val_set: DetectionDataset) -> None:
    """curves.png and predictions.png, the latter with the best weights, or the last where best.pth is gone."""
    model = trainer.step.best_model
    if os.path.isfile(trainer.best_checkpoint):
        load_weights(model, trainer.best_checkpoint)
    pipeline = exp.build_pipeline(model, val_set.class_names)
    predictor = Predictor(replace(pipeline, postprocess=replace(exp.build_postprocess(), score_threshold=SHEET_SCORE)))
    rows = np.linspace(0, len(val_set) - 1, min(SHEET_IMAGES, len(val_set))).round().astype(int)
    samples = [sample for row in rows if (sample := _sample_to_draw(exp, val_set, row)) is not None]
    truths = [GroundTruth(torch.from_numpy(sample.boxes), torch.from_numpy(sample.labels)) for sample in samples]
    images = [sample.image for sample in samples]
    prediction_sheet(images, predictor(images), val_set.class_names, trainer.output / "predictions.png", truths)
    plot_curves(trainer.output / "metrics.csv", trainer.output / "curves.png")
    if trainer.best is None or trainer.best <= NO_SCORE:
        best = f"no {exp.best_by} on the validation set, so that {trainer.best_checkpoint} is of the last evaluation"
    else:
        best = f"best {exp.best_by} {trainer.best:.3f}, in {trainer.best_checkpoint}"
    logger.info(f"{best}; curves.png and predictions.png are beside it")
