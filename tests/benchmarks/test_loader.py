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


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--size", "800x", "'800x' must be two numbers of pixels"),
        ("--resize", "800x", "'800x' must be two numbers of pixels"),
        ("--size", "0/0", "'0/0' must be two numbers of pixels, 16 to 65535"),
        ("--resize", "1/2/3", "such as 800/1333"),
        ("--batch", "0", "0: must be at least 1"),
        ("--rounds", "0", "0: must be at least 1"),
        ("--count", "-1", "-1: must be at least 1"),
        ("--images", "", "is empty"),
    ],
)
def test_a_wrong_value_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["loader.py", option, value])
    with pytest.raises(SystemExit) as ended:
        loader.main()
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: argument {option}: {said}" if "such" not in said else "error: ")
    assert said in line
    assert line.count("\n") == 1


def test_a_folder_without_images_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "argv", ["loader.py", "--images", str(tmp_path)])
    with pytest.raises(UserError, match="has no images"):
        loader.main()


def test_a_folder_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "argv", ["loader.py", "--images", str(tmp_path / "gone")])
    with pytest.raises(UserError, match="gone: is no folder"):
        loader.main()
