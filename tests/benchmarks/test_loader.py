"""The benchmark of the loader, on a few small pictures."""

from __future__ import annotations

import re
import sys

import pytest

from benchmarks import loader
from otadet.errors import UserError


def test_it_prints_the_ratios(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--count", "4", "--size", "130/200", "--resize", "40/60", "--batch", "2", "--rounds", "2"]
    monkeypatch.setattr(sys, "argv", ["loader.py", *options])
    loader.main()
    out = capsys.readouterr().out
    assert "4 images, resized to 40/60, batches of 2" in out
    ratio = r"\d\.\d\d of the [\d.]+ images/s of OpenCV(, default interpolation)? \(\d\.\d\d by processor time\)"
    assert len(re.findall(ratio, out)) == 8
    assert out.index("whole images, training") < out.index("reduced decoding, evaluation")


@pytest.mark.parametrize("option", ["--size", "--resize"])
def test_a_size_is_two_numbers(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setattr(sys, "argv", ["loader.py", option, "800x"])
    with pytest.raises(UserError, match=f"{option} 800x: must be two numbers"):
        loader.main()


def test_a_folder_without_images_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "argv", ["loader.py", "--images", str(tmp_path)])
    with pytest.raises(UserError, match="has no images"):
        loader.main()
