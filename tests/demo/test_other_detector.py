"""The example that puts OTA into torchvision's FCOS trains."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "demo" / "other_detector.py"


def test_the_loss_falls(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    losses = [float(value) for value in re.findall(r"classification (\S+),", capsys.readouterr().out)]
    assert len(losses) == 20
    assert losses[-1] < losses[0] / 2
