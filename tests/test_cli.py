"""What the tools share: consoles that cannot show everything, numbers that look like options."""

from __future__ import annotations

import io
import sys

import pytest

from otadet.cli import experiment_parser, run


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_without_the_letters_gets_escapes(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    run(lambda: print("2 \u732b, \udce9.png", flush=True))
    assert stream.buffer.getvalue().split() == [b"2", b"\\u732b,", b"\\udce9.png"]


@pytest.mark.parametrize("text", ["-1", "-1e-3", "-.5", "-2E+5", "-inf", "-nan", "-1."])
def test_a_negative_number_is_a_value(text: str) -> None:
    assert experiment_parser(None).parse_args(["-f", "a.py", "lr", text]).overrides == ["lr", text]
