"""What a process does that is not the main one, on a host whose output folder may be called otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otadet.apps import beginning
from otadet.apps.arguments import AUTO
from otadet.apps.beginning import read_beginning
from otadet.apps.start import Start
from otadet.exp import BaseExp


@pytest.mark.parametrize("folder", ["of the main process", "of another host"])
def test_processes_stay_in_step_whatever_their_output_is_called(folder, tmp_path, monkeypatch):
    asked: list[str] = []

    def from_main(make: Callable[[], object]) -> object:
        """In a process that is told what the main one has found."""
        asked.append("")
        return Path("of the main process") / "last.pth" if len(asked) == 1 else None

    monkeypatch.setattr(beginning, "from_main", from_main)
    assert read_beginning(BaseExp(), Start(Path(folder), resume=AUTO)).resume == Path("of the main process", "last.pth")
    assert len(asked) == 3
