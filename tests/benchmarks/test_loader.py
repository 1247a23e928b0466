"""The benchmark of the loader, on a few small pictures."""

from __future__ import annotations

import re
import sys

import pytest

from benchmarks import loader
from otadet.errors import UserError


def test_it_prints_the_ratios(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(loader, "SIZES", ((48, 64), (130, 200)))
    monkeypatch.setattr(
        sys, "argv", ["loader.py", "--count", "4", "--resize", "40/60", "--batch", "2", "--rounds", "2"]
    )
    loader.main()
    out = capsys.readouterr().out
    assert "4 images, resized to 40/60, batches of 2" in out
    assert len(re.findall(r"\d\.\d\d of the [\d.]+ images/s of OpenCV", out)) == 4
    assert out.index("whole images") < out.index("reduced decoding")


def test_a_folder_without_images_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "argv", ["loader.py", "--images", str(tmp_path)])
    with pytest.raises(UserError, match="has no images"):
        loader.main()
