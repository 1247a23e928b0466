"""Every command of README and docs runs, at a tiny size, in the order in which a reader meets them."""

from __future__ import annotations

import csv
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from otadet.apps.check import FOUND_ERRORS, FOUND_WARNINGS
from otadet.cli import COMMANDS, run
from otadet.data.synthetic.write import write_synthetic
from tests.helpers.published_yolox import untrained

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

ELSEWHERE = {
    r"python3 -m venv \.venv && .*demo/quickstart\.py": "tests/demo/test_quickstart.py runs what is installed",
    r"python3 -m venv \.venv && .*pytest -q": "these tests, as .ci/run starts them",
    r"git clone ": "needs a network; the fixture writes what comes",
    r"torchrun ": "needs several hosts; tests/engine/test_launch.py has several processes",
    r"otadet train -c yolox-s ": "needs a network; tests/apps/test_published.py has a server",
    r"otadet train$": "two minutes; tests/demo/test_quickstart.py trains the same made small",
    r"python tools/bench_assign\.py": "measures for minutes; tests/tools/test_bench_assign.py runs a small scene",
    r"python benchmarks/train_step\.py": "measures for minutes; tests/benchmarks/test_train_step.py runs a tiny one",
    r"python benchmarks/rules\.py": "trains for half an hour; tests/benchmarks/test_rules.py trains a tiny network",
    r"otadet export -c nano\.pth": "seconds of tracing; tests/exps/test_exps.py exports such a network",
    r"otadet eval -c nano\.": "needs COCO's classes; tests/apps/test_onnx_file.py evaluates a checkpoint and its file",
}
"""Beginning of a command -> why it does not run here."""

TINY = shlex.split("length 1epochs batch_size 2 workers 0 input.resize 64/64")
SMALL_NETWORK = shlex.split("depth 10 width 8 backbone.weights none channels 16 tower_depth 1")
SMALLER = {
    "mine.py": [*TINY, *SMALL_NETWORK],
    "my_data": [*TINY, "depth", "10", "width", "8", "channels", "16", "tower_depth", "1"],
    "exps/blood_cells.py": [*TINY, "depth", "10", "width", "8", "channels", "16"],
    "exps/ota_fcos_r50.py": [*TINY, *SMALL_NETWORK],
}
"""Experiment -> the fields that make it tiny; the network is the same for all tools."""


@dataclass(frozen=True)
class Command:
    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)

    @property
    def elsewhere(self) -> bool:
        return any(re.match(beginning, " ".join(self.words)) for beginning in ELSEWHERE)


def commands() -> Iterator[Command]:
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            lines = text.replace("\\\n", " ").splitlines() if language in ("sh", "bash", "console") else []
            for line in lines:
                if words := shlex.split(line, comments=True):
                    yield Command(page.name, tuple(words))


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with all that the commands name, as the current one."""
    for name in ("exps", "tools", "demo"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, train in (("mine", "images"), ("coco", "train2017")):
        folder = tmp_path / "datasets" / name
        write_synthetic(folder, images_train=4, images_val=2, size=64, classes=2)
        (folder / "train").rename(folder / train)
    mine, coco = tmp_path / "datasets/mine", tmp_path / "datasets/coco"
    (coco / "val").rename(coco / "val2017")
    for file in (mine / "val").iterdir():
        file.rename(mine / "images" / f"val_{file.name}")
    for split in ("train", "val"):
        source = mine / f"annotations/instances_{split}.json"
        text = source.read_text(encoding="utf-8")
        named = re.sub(r'("file_name": ")', r"\1val_", text) if split == "val" else text
        for name in (split, "test") if split == "val" else (split,):
            (mine / f"annotations/{name}.json").write_text(named, encoding="utf-8")
        source.unlink()
        (coco / f"annotations/instances_{split}.json").rename(coco / f"annotations/instances_{split}2017.json")
    shutil.copytree(mine, tmp_path / "datasets/aquarium")
    write_cells(tmp_path / "cells")
    torch.save({"model": untrained("yolox", classes=80, width=0.0625)}, tmp_path / "yolox_nano.pth")
    (tmp_path / "photos").mkdir()
    for name in ("photos/a.png", "photo.png"):
        cv2.imwrite(str(tmp_path / name), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "mine.py").write_text(example("class Exp(BaseExp)"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_cells(folder: Path) -> None:
    """The blood cells' layout: pictures, none of which overlap, and a table of boxes."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (folder / "annotations.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        rows.writerow(["label", "image", "xmin", "ymin", "xmax", "ymax"])
        for name in ("image.png", *(f"{number}.png" for number in range(5))):
            picture = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), (0, 0), 2)
            cv2.imwrite(str(folder / "images" / name), picture)
            rows.writerow(["wbc", name, 1, 2, 31.5, 42])
            rows.writerow(["rbc", name, 30, 30, 64, 60.25])


def example(part: str) -> str:
    """The README's first Python example that has this text in it."""
    blocks = BLOCK.findall(PAGES[0].read_text(encoding="utf-8"))
    return next(text for language, text in blocks if language == "python" and part in text)


def tiny(words: tuple[str, ...]) -> list[str]:
    """The words behind `python`, on one device, with the fields that make the command's experiment tiny."""
    made: list[str] = []
    for before, word in zip(("", *words), words, strict=False):
        made.append("1" if before == "-d" else word)
        if before == "-f":
            # Not at the end, where an option may take any number of words.
            made += SMALLER[word]
    if words[:2] == ("train", "-c"):
        return [*made, "length", "1iterations", "resize", "64x64", "batch_size", "2"]
    return [*made, *SMALLER["my_data"]] if words[:2] == ("train", "data") else made


def test_every_command_runs(desk, monkeypatch, capsys):
    for command in commands():
        if command.elsewhere:
            continue
        assert command.words[0] in ("python", "otadet"), f"{command.page}: {command}: how is it to be tested?"
        script, *arguments = tiny(command.words[1:])
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        try:
            if command.words[0] == "otadet":
                run(import_module(f"otadet.apps.{COMMANDS[script][0]}").main)
            else:
                run(runpy.run_path(str(desk / script))["main"])
        except SystemExit as ended:
            if script == "check" and ended.code in (FOUND_WARNINGS, FOUND_ERRORS):
                continue
            pytest.fail(f"{command.page}: {command}: status {ended.code}\n{capsys.readouterr().err}")
        if (trained := desk / "runs/blood_cells/best.pth").is_file():
            shutil.copy(trained, desk / "best.pth")
    assert (desk / "runs/mine/predictions.png").is_file()
    assert (desk / "runs/blood_cells/best.onnx").is_file()


def test_no_reason_is_left_over():
    lines = [" ".join(command.words) for command in commands()]
    for beginning in ELSEWHERE:
        assert any(re.match(beginning, line) for line in lines), beginning


def test_the_checks_are_the_same_wherever_they_are_said():
    makefile = re.findall(r"^\t\$\(PYTHON\) -m (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    readme = next(line for command in commands() if "pytest" in (line := " ".join(command.words)))
    said = [part.removeprefix(".venv/bin/").removeprefix("python -m ") for part in readme.split(" && ")[2:]]
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    first = script.index("ruff check .")
    assert makefile == said == [line.removeprefix("python -m ") for line in script[first:]]
