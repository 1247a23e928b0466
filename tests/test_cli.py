"""What the tools share: consoles that cannot show everything, numbers that look like options."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
from importlib import import_module

import pytest

from otadet.apps.arguments import experiment_parser
from otadet.cli import run
from otadet.command_line import Parser, at_least
from otadet.errors import UserError
from otadet.exp import load_exp


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_without_the_letters_gets_escapes(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    run(lambda: print("2 \u732b, \udce9.png", flush=True))
    assert stream.buffer.getvalue().split() == [b"2", b"\\u732b,", b"\\udce9.png"]


@pytest.mark.parametrize("text", ["-1", "-1e-3", "-.5", "-2E+5", "-inf", "-nan", "-1.", "-5epochs", "-3x4"])
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


@pytest.mark.parametrize(
    ("app", "words", "said"),
    [
        ("evaluate", [], "the following arguments are required: -c/--checkpoint"),
        ("predict", ["-c", "a.pth", "--path", ""], "argument --path: is empty"),
        ("predict", ["-c", "", "--path", "a"], "argument -c/--checkpoint: is empty"),
        ("predict", ["-c", "a.pth", "--path", "a", "--conf", "nan"], "argument --conf: 'nan' is not a number from 0"),
        ("train", ["-f", ""], "argument -f/--exp: is empty"),
        ("train", ["--lr", "1"], "unrecognized arguments: --lr, which is no option; fields of the experiment have no"),
        ("check", [], "the following arguments are required: PATH;"),
        ("check", ["a", "--workers", "x"], "argument --workers: invalid int value"),
        ("convert_data", ["a", "b", "--to", "x"], "argument --to: invalid choice: 'x'"),
        ("show", ["data", "--batches", "0"], "argument --batches: '0' is not a number"),
        ("convert", ["--from", "x"], "argument --from: invalid choice"),
    ],
)
def test_a_mistake_is_one_line(app, words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        import_module(f"otadet.apps.{app}").main(words)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {said}")
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("--help has all options\n")


@pytest.mark.parametrize("text", ["x", "", "1.5", "1", "-3", "nan"])
def test_a_number_is_whole_and_not_too_small(text, capsys):
    parser = Parser("tool")
    parser.add_argument("-n", type=at_least(2))
    assert parser.parse_args(["-n", "2"]).n == 2
    with pytest.raises(SystemExit):
        parser.parse_args(["-n", text])
    assert re.match(r"error: argument -n: (.* is no whole number|.*: must be at least 2);", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr"], "lr: overrides come as pairs, name value; the last one is incomplete"),
        (["data", ".", "lr=0.1"], "write lr 0.1 for lr=0.1"),
        (["augment.0.p="], "write augment.0.p VALUE for augment.0.p="),
        (["."], ". is a folder: as that of the pictures it is data ."),
        (["lr", "1", __file__], f"{__file__} is a file of Python: as that of an experiment it is -f {__file__}"),
        (["data", ""], "folder: is empty"),
    ],
)
def test_settings_that_are_no_pairs(words, said):
    with pytest.raises(UserError, match=f"{re.escape(said)}"):
        load_exp("my_data").override(words)


def test_a_folder_is_no_experiment(tmp_path):
    with pytest.raises(UserError, match="is a folder; name the file of an experiment"):
        load_exp(tmp_path)
