"""The training loop. It counts in iterations and is handed everything it works with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger
from torch import nn

from otadet.distributed import (
    broadcast_object,
    from_main,
    gather_objects,
    is_main,
    on_any_rank,
    raise_together,
    rank,
    world_size,
)
from otadet.engine.best import Best
from otadet.engine.checkpoint import load_training, previous_checkpoint, save_checkpoint
from otadet.engine.freezing import parameters_said
from otadet.engine.guard import NonFiniteError
from otadet.engine.older import TRAINING, check_same_values, flat, values_of
from otadet.engine.precision import precision_name
from otadet.engine.recorder import LossSums, Recorder
from otadet.engine.restore import restore_rng, rng_state, warn_of_changes
from otadet.engine.settings import TrainSettings
from otadet.engine.stop import EvaluationStopped, StopRequest
from otadet.engine.train_step import TrainStep
from otadet.engine.weights import check_class_names
from otadet.errors import MainProcessError, UserError

if TYPE_CHECKING:
    from otadet.data.batch import Batch


class Trainer:
    """Repeats a training step, and leaves `last.pth`, `best.pth` and `metrics.csv` in the folder `output`.

    Args:
        step: what makes one step, and holds the model.
        loader: start iteration -> the batches from there on, the same whenever it is called.
        evaluate: model -> named scores; called in every process, the main one's result counts. None never evaluates, so
            that there is no `best.pth`.
        class_names, parts, experiment: go into the checkpoints. `parts` is the experiment's parts as plain data,
            `experiment` what else there is to know of it, such as its name.
    """

    def __init__(
        self,
        step: TrainStep,
        loader: Callable[[int], Iterable[Batch]],
        settings: TrainSettings,
        *,
        output: str | Path,
        evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
        class_names: Sequence[str] = (),
        parts: Mapping[str, Any] | None = None,
        experiment: Mapping[str, Any] | None = None,
    ) -> None:
        self.step = step
        self.settings = settings
        self.output = Path(output)
        self.loader = loader
        self.evaluate = evaluate
        self.class_names = list(class_names)
        self.parts = dict(parts or {})
        self.experiment = dict(experiment or {})
        self.stop = StopRequest(quiet=not is_main())
        self.iteration = 0
        """Iterations done."""
        self.best = Best(settings)
        """Of the evaluations done."""
        self._evaluated_at: int | None = None
        self._saved_at: int | None = None
        """Iteration of the last.pth that this process wrote or resumed from."""
        self._resumed = False
        self._losses = LossSums()

    @property
    def last_checkpoint(self) -> Path:
        return self.output / "last.pth"

    @property
    def best_checkpoint(self) -> Path:
        return self.output / "best.pth"

    def train(self) -> bool:
        """Train to the end. Returns whether it was reached: False after Ctrl-C or SIGTERM, with the state saved.

        Raises `NonFiniteError` where the loss is not finite; no checkpoint holds the result of such a loss.
        """
        if not self._work_left():
            logger.info(f"nothing to do: {self._why_no_work_is_left()}")
            return True
        self._log_start()
        recorder = Recorder(
            self.output,
            self.settings.iterations,
            self.iteration,
            self.settings.iterations_per_epoch,
            self._losses,
            resumed=self._resumed,
            data_advice=self.settings.data_advice,
        )
        try:
            with self.stop:
                self._loop(recorder)
            recorder.sum_up()
        finally:
            recorder.close()
        if self._ended_early():
            logger.info(f"ended early: {self._why_no_work_is_left()}")
        if self._work_left():
            logger.warning(
                f"stopped after {self.iteration} of {self.settings.iterations} iterations; "
                f"to go on, give the same command with --resume (it reads {self.last_checkpoint})"
            )
        return not self._work_left()

    def _loop(self, recorder: Recorder) -> None:
        settings = self.settings
        batches = recorder.watched(self.loader(self.iteration))
        self.step.train_mode()
        recorder.begin()
        while self._work_left():
            if self._evaluation_due():
                try:
                    with recorder.paused():
                        self._evaluate(recorder)
                        self.save()
                except EvaluationStopped:
                    # The state before it is saved, and a resumed run begins with it.
                    return
                continue
            batch = self._next(batches)
            with self._adding_what_is_safe():
                result = self.step(batch, self.iteration, self.stop)
            self.best.check_columns(result.losses)
            self.iteration += 1
            recorder.update(self.iteration, result.losses)
            at_end = self.iteration == settings.iterations
            is_judged = settings.of_training and self._evaluation_due()
            if at_end or is_judged or self.iteration % settings.log_every == 0:
                self.best.hear_training(recorder.log_losses(self.iteration, self.step.lr))
            # Before an evaluation too, so that one that is cut short costs nothing but itself.
            if result.stop or at_end or self._evaluation_due() or self.iteration % settings.save_every == 0:
                self.save()
            if result.stop:
                # Once one process has ended, those that started them soon kill one that still writes.
                broadcast_object(None)
                return

    @contextmanager
    def _adding_what_is_safe(self) -> Iterator[None]:
        """Around what raises a `NonFiniteError` on all processes or none."""
        try:
            yield
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}\n{from_main(self.what_is_safe)}") from error

    def _next(self, batches: Iterator[Batch]) -> Batch:
        """The next batch. Where any process has none, all save their state before the error is raised."""
        error = None
        try:
            batch = next(batches)
        except Exception as raised:
            error = raised
        if on_any_rank(error is not None):
            if from_main(lambda: self._saved_at != self.iteration):
                self.save()
            raise_together(error, f"\n{self.what_is_safe()}")
        return batch

    def _work_left(self) -> bool:
        if self._ended_early():
            return False
        return self.iteration < self.settings.iterations or self._evaluation_due()

    def _ended_early(self) -> bool:
        return self.best.patience.is_over and self.iteration < self.settings.iterations

    def _why_no_work_is_left(self) -> str:
        if self._ended_early():
            place = f"at iteration {self.iteration} of {self.settings.iterations}"
            return f"{place} {self.best.patience}; to go on raise run.patience, or set it to none"
        return f"the run has all of its {self.iteration} iterations; to train longer raise the length"

    def _evaluation_due(self) -> bool:
        if self.evaluate is None or self.iteration in (0, self._evaluated_at):
            return False
        return self.settings.evaluates_after(self.iteration)

    def _evaluate(self, recorder: Recorder) -> None:
        assert self.evaluate is not None  # as _evaluation_due sees to
        try:
            scores = broadcast_object(self.evaluate(self.step.best_model))
        except MainProcessError:
            raise
        except UserError as error:
            raise UserError(f"{error}\n{self.what_is_safe()}") from error
        self.step.train_mode()
        self._evaluated_at = self.iteration
        # The value is the main process's in all of them, and so is what follows from it.
        value = from_main(lambda: self._value(scores))
        is_best = value is not None and self.best.hear(value)
        if is_best:
            self.save(self.best_checkpoint)
        recorder.log_scores(self.iteration, scores, best=str(self.best) if is_best else "")

    def _value(self, scores: Mapping[str, float]) -> float | None:
        try:
            return self.best.value_at(scores)
        except UserError as error:
            raise UserError(f"{error}\n{self.what_is_safe()}") from error

    def save(self, path: Path | None = None) -> None:
        """Write a checkpoint, `last.pth` unless told otherwise. Every process calls it, the main one writes.

        Raises `NonFiniteError`, and leaves the file as it was, if anything is not finite.
        """
        with self._adding_what_is_safe():
            self.step.check()
        processes = gather_objects((rng_state(self.step.device), self._losses.state()))
        if not is_main():
            return
        if (part := self.step.what_is_not_finite()) is not None:
            raise NonFiniteError(
                f"{part} is not finite after iteration {self.iteration}, though the losses were. "
                f"{self.what_is_safe()}. Try a lower lr or a grad_clip"
            )
        state = {
            **self.step.state(),
            "rng": [generators for generators, _ in processes],
            "interval": [losses for _, losses in processes],
            "iteration": self.iteration,
            "iterations": self.settings.iterations,
            "evaluated_at": self._evaluated_at,
            **self.best.state(),
            "class_names": self.class_names,
            "parts": self.parts,
            "experiment": self.experiment,
            "precision": precision_name(self.step.amp_dtype),
        }
        path = path or self.last_checkpoint
        if path != self.last_checkpoint:
            save_checkpoint(path, state)
            return
        # What this process has neither read nor written may be damaged, and must not take the place of a whole one.
        known = self._saved_at is not None
        save_checkpoint(path, state, previous=previous_checkpoint(path) if known else None)
        self._saved_at = self.iteration

    def what_is_safe(self) -> str:
        """What an error that ends the run leaves of it, for a message."""
        if self._saved_at is None:
            return "The run has saved no checkpoint yet"
        saved = f"{self.last_checkpoint} is whole and has iteration {self._saved_at}"
        if not self._work_left():
            return f"The training itself is complete: {saved}; --resume does what is left"
        return f"{saved}: --resume goes on from there"

    def resume(self, path: str | Path, state: dict[str, Any] | None = None) -> None:
        """Continue from a checkpoint as if there had been no interruption.

        Only the main process reads the file, and passes it on. state: what it has read of it already. Raises
        `UserError` for a file that is no checkpoint, or one of other classes, another model or optimizer.
        """
        state = from_main(lambda: load_training(path) if state is None else state)
        check_class_names(path, state, self.class_names)
        before, now = values_of(state), flat(self.parts)
        check_same_values(path, TRAINING, before, now)
        self.step.restore(path, state)
        if len(state["rng"]) == world_size():
            restore_rng(path, state["rng"][rank()], self.step.device)
        if "interval" in state:
            self._losses.restore(state["interval"], self.step.device)
        self.iteration, self._evaluated_at = state["iteration"], state["evaluated_at"]
        # In another output folder there is none yet.
        self.best.restore(state, has_checkpoint=from_main(lambda: os.path.isfile(self.best_checkpoint)))
        self._resumed = True
        if from_main(lambda: os.path.realpath(path) == os.path.realpath(self.last_checkpoint)):
            self._saved_at = self.iteration
        logger.info(f"resumed from {path}, after iteration {self.iteration}")
        warn_of_changes(state, before, now, precision_name(self.step.amp_dtype), self.settings.iterations)

    def _log_start(self) -> None:
        rates = " and ".join(f"{rate:g}" for rate in dict.fromkeys(self.step.base_rates))
        logger.info(f"model: {parameters_said(self.step.model)}")
        logger.info(
            f"training: iterations {self.iteration} to {self.settings.iterations}, "
            f"{self.settings.iterations_per_epoch:.1f} per epoch; {type(self.step.optimizer).__name__}, lr {rates}, "
            f"{self.step.schedule}{', averaged weights' if self.step.ema is not None else ''}"
        )
        logger.info(f"output: {self.output}")
