"""The README's first command, with everything in it made small, and in this process."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

from otadet.cli import run

ROOT = Path(__file__).parents[2]
TINY = "images_train 4 images_val 2 image_size 64 input.resize 64/64 depth 10 width 8 channels 16"
SHORT = "tower_depth 1 length 1epochs batch_size 2"


def test_the_quickstart_trains_evaluates_draws_and_exports(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / "demo/quickstart.py"))["main"]

    def tool(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, *arguments, *TINY.split(), *SHORT.split()])
        run(runpy.run_path(str(ROOT / "tools" / name))["main"])

    monkeypatch.setitem(main.__globals__, "run", tool)
    monkeypatch.setattr(sys, "argv", ["quickstart.py"])
    main()
    output = tmp_path / "runs/quickstart"
    made = {"best.pth", "last.pth", "curves.png", "predictions.png", "predictions.json", "drawn.json", "model.onnx"}
    assert made <= {file.name for file in output.iterdir()}
    assert [file.name for file in sorted((output / "drawn").iterdir())] == ["000001.png", "000002.png"]
    assert re.search(r"done in [\d.]+ minutes; see runs/quickstart/predictions.png", capsys.readouterr().out)
