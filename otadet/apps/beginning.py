"""What a training begins with: a run that it goes on with, the weights of a checkpoint, or neither."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import nn

from otadet.apps.arguments import AUTO
from otadet.apps.start import Start
from otadet.distributed import broadcast_object, from_main
from otadet.engine.adopt import Adopted, adopt, has_all_of
from otadet.engine.checkpoint import (
    ReadCheckpoint,
    load_checkpoint,
    load_training,
    newest_checkpoint,
    previous_checkpoint,
)
from otadet.engine.older import values_of
from otadet.engine.trainer import Trainer
from otadet.errors import UserError
from otadet.exp import BaseExp
from otadet.exp.load import start_of, unread, without_start
from otadet.exp.start import read_start, start_from
from otadet.names import names_as_trained

State = dict[str, Any]
"""What a checkpoint holds."""
TakeOver = Callable[[nn.Module, Any, State, Sequence[str]], Adopted]
"""(network, path, what it holds, classes of the data): put the weights into the network."""


@dataclass
class Beginning:
    """What was read, in the main process alone: only its disk need have the files."""

    resume: str | Path | None
    """Checkpoint of the run to go on with."""
    checkpoint: str | Path | None
    """That of -c."""
    weights: str | Path | None
    """The checkpoint whose weights a new run begins with: that of -c, or one that the experiment names."""
    _resumed: State | None
    _start: State | None
    """Of `weights`."""
    _take_over: TakeOver

    @property
    def is_from_nothing(self) -> bool:
        """Whether no checkpoint is begun with at all."""
        return self.resume is None and self.weights is None

    @property
    def classes_taken_over(self) -> Sequence[str]:
        """Of `weights`, by label."""
        return [] if self._start is None else self._start["class_names"]

    def classes_resumed(self, exp: BaseExp) -> Sequence[str] | None:
        """Of the run to go on with, as `exp` is to be given them."""
        return None if self._resumed is None else names_as_trained(exp.data.class_names, self._resumed["class_names"])

    def values_resumed(self) -> Mapping[str, Any] | None:
        """Path -> value of the fields of the run to go on with; every process calls this, and has them."""
        return broadcast_object(None if self._resumed is None else values_of(self._resumed))

    def network(self, exp: BaseExp, classes: int) -> nn.Module:
        """The network with its initial weights; those of a backbone are read only where no checkpoint replaces them
        all."""
        torch.manual_seed(exp.run.seed)
        if self.resume is None and self.checkpoint is None:
            return without_start(exp).build_model(classes)
        network, start = unread(exp).build_model(classes), self._start
        if self.resume is not None or from_main(lambda: start is not None and has_all_of(start, network, "backbone")):
            return network
        torch.manual_seed(exp.run.seed)
        return without_start(exp).build_model(classes)

    def take_over(self, network: nn.Module, class_names: Sequence[str]) -> Adopted | None:
        """Put the weights to begin with into the network, in the main process. class_names: of the data."""
        return None if self._start is None else self._take_over(network, self.weights, self._start, class_names)

    def go_on(self, trainer: Trainer) -> None:
        """Resume the run, if there is one, and let go of what was read: with an optimizer's state that is much."""
        if self.resume is not None:
            trainer.resume(self.resume, self._resumed)
        self._resumed = self._start = None


def read_beginning(exp: BaseExp, start: Start) -> Beginning:
    """Read what there is to begin with; every process calls this. Raises `UserError` for files that cannot be used."""
    resume, checkpoint = start.resume, start.checkpoint
    if resume == AUTO:
        resume = from_main(lambda: newest_checkpoint(start.output))
        checkpoint = checkpoint if resume is None else None
    from_main(lambda: _check_there(resume, start.output))
    resumed = _read_on_main(load_training, resume, start.read)
    own, given = start_of(exp), checkpoint if resume is None else resume
    if own is not None and given is None:
        # One that the experiment names must fit, but for its classes; of another what fits is taken.
        begun = _read_on_main(lambda path, state: read_start(str(path)), own, start.read)
        return Beginning(resume, checkpoint, own, resumed, begun, start_from)
    if own is not None:
        logger.info(f"model.weights {own} is not read: {given} has all weights")
    begun = _read_on_main(lambda path, state: state or load_checkpoint(path), checkpoint, start.read)
    return Beginning(resume, checkpoint, checkpoint, resumed, begun, adopt)


def _check_there(resume: str | Path | None, output: Path) -> None:
    """Raise `UserError` where the checkpoint to resume is to be in the output folder, and is not."""
    if resume is None or (path := Path(resume)).parent != output:
        return
    if not os.path.exists(path):
        previous = previous_checkpoint(path)
        instead = f"go on from its predecessor, --resume {previous}, or " if os.path.exists(previous) else ""
        raise UserError(f"{path}: no such file, so there is nothing to resume; {instead}omit --resume to start")


def _read_on_main(
    load: Callable[[str | Path, State | None], State], path: str | Path | None, read: ReadCheckpoint | None
) -> State | None:
    """What a checkpoint holds; None without one, and in all but the main process."""
    if path is None:
        return None
    state: list[State] = []
    there = path
    from_main(lambda: state.append(load(there, None if read is None else read.take(there))))
    return state[0] if state else None
