"""The command `otadet`: its words, its help, and what is said of a word that it does not know."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from otadet import cli

ROOT = Path(__file__).parents[1]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """The command in this process, up to what ends the process."""
    monkeypatch.setattr(sys, "argv", ["otadet", *words])
    monkeypatch.setattr(cli, "run_tool", lambda main: main())
    monkeypatch.setattr(cli, "end_at_once_on_signals", lambda: None)
    cli.command()


def test_help_names_every_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "--help")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for word, (_, does) in cli.COMMANDS.items():
        assert f"otadet {word}" in printed
        assert does.split()[0] in printed


@pytest.mark.parametrize("word", cli.COMMANDS)
def test_every_word_has_its_own_help(word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, word, "--help")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: otadet {word}" in printed
    assert f"otadet {word}" in printed.partition("\n\n")[2]


def test_another_word_is_an_error_that_lists_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "trian")
    assert ended.value.code == 2
    assert "'train', 'eval'" in capsys.readouterr().err


def test_the_package_is_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["otadet", "--help"])
    monkeypatch.setattr(cli, "run_tool", lambda main: main())
    monkeypatch.setattr(cli, "end_at_once_on_signals", lambda: None)
    with pytest.raises(SystemExit):
        runpy.run_module("otadet", run_name="__main__")
    assert "usage: otadet" in capsys.readouterr().out


def test_help_imports_no_torch() -> None:
    code = "import sys; sys.argv = ['otadet', 'eval', '--help']\nfrom otadet import cli\n"
    code += "cli.run_tool = lambda main: main()\n"
    code += "try:\n    cli.command()\nexcept SystemExit:\n    print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment, cwd=ROOT)
    assert printed.splitlines()[-1] == "False"


def test_every_tool_calls_its_app() -> None:
    for tool in (
        "train",
        "eval",
        "demo",
        "export_onnx",
        "visualize_assign",
        "ambiguity",
        "bench_assign",
        "check_data",
        "convert",
    ):
        lines = (ROOT / "tools" / f"{tool}.py").read_text().splitlines()
        assert len(lines) < 30, tool
