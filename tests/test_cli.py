"""What the tools share: consoles that cannot show everything, numbers that look like options."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys

import pytest

from otadet.apps.arguments import experiment_parser
from otadet.cli import run


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_without_the_letters_gets_escapes(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    run(lambda: print("2 \u732b, \udce9.png", flush=True))
    assert stream.buffer.getvalue().split() == [b"2", b"\\u732b,", b"\\udce9.png"]


@pytest.mark.parametrize("text", ["-1", "-1e-3", "-.5", "-2E+5", "-inf", "-nan", "-1."])
def test_a_negative_number_is_a_value(text: str) -> None:
    assert experiment_parser(None).parse_args(["-f", "a.py", "lr", text]).overrides == ["lr", text]


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (errno.EPIPE, 141, ""),
        (errno.ENOSPC, 2, f"error: standard output: cannot be written ({os.strerror(errno.ENOSPC)})\n"),
    ],
)
def test_an_output_that_cannot_be_written(number, status, said, buffered, monkeypatch, capsys):
    class Lost(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(number, os.strerror(number))

    stream = io.TextIOWrapper(io.BufferedWriter(Lost()) if buffered else Lost(), write_through=not buffered)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            run(lambda: print("AP 0.5"))
        with contextlib.suppress(OSError):
            stream.close()
    assert ended.value.code == status
    assert capsys.readouterr().err == said


def test_another_pipe_that_breaks_is_no_lost_output(monkeypatch):
    def fail() -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(fail)
