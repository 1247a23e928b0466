"""What a process does that is not the main one, on a host whose output folder may be called otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from otadet.apps import training
from otadet.exp import BaseExp


class ReadyToTrain(Exception):
    pass


@pytest.mark.parametrize("folder", ["of the main process", "of another host"])
def test_processes_stay_in_step_whatever_their_output_is_called(folder, tmp_path, monkeypatch):
    asked: list[str] = []

    def from_main(make: Callable[[], object]) -> object:
        """In a process that is told what the main one has found."""
        asked.append("")
        return Path("of the main process") / "last.pth" if len(asked) == 1 else None

    def end(*args: object) -> None:
        raise ReadyToTrain

    monkeypatch.setattr(training, "from_main", from_main)
    monkeypatch.setattr(training, "build_datasets", end)
    with pytest.raises(ReadyToTrain):
        training._train_in(Path(folder), BaseExp(), torch.device("cpu"), training.AUTO, None, False)
    assert len(asked) == 3
