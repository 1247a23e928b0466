"""Python files of users: what of them other processes find, and what is said while one is executed."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from otadet import user_modules
from otadet.errors import UserError
from otadet.exp import load_exp
from otadet.user_modules import Portable, load_module

CLASS = "class Part:\n    def __init__(self, value):\n        self.value = value\n"


def write(folder: Path, text: str, name: str = "own parts.v2.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_pickle_finds_a_class_of_the_file(tmp_path: Path) -> None:
    module = load_module(write(tmp_path, CLASS))
    assert pickle.loads(pickle.dumps(module.Part(3))).value == 3


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, second = (load_module(write(folder, CLASS)) for folder in (tmp_path, tmp_path / "other"))
    assert first.__name__ != second.__name__
    assert type(pickle.loads(pickle.dumps(first.Part(1)))) is first.Part


def test_a_process_that_knows_nothing_of_the_file_unpickles_its_parts(tmp_path: Path) -> None:
    module = load_module(write(tmp_path, CLASS))
    code = (
        "import pickle, sys\nplain, portable = pickle.load(sys.stdin.buffer)\n"
        "try:\n    pickle.loads(plain)\nexcept ModuleNotFoundError:\n    print(pickle.loads(portable).value.value)"
    )
    pickled = pickle.dumps((pickle.dumps(module.Part(5)), pickle.dumps(Portable(module.Part(5)))))
    root = Path(user_modules.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, check=True, cwd=root)
    assert run.stdout.strip() == b"5"


def test_a_file_that_fails_leaves_no_module(tmp_path: Path) -> None:
    path = write(tmp_path, "x = 1\ny = x / 0\n", "failing.py")
    with pytest.raises(UserError, match=r"failing\.py, line 2: fails when it is loaded: ZeroDivisionError"):
        load_module(path)
    assert "otadet_exp_failing" not in sys.modules


def test_a_file_that_takes_long_is_named(tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(user_modules, "_PATIENCE", 0.01)
    load_module(write(tmp_path, "import time\ntime.sleep(0.2)\n", "slow.py"))
    assert "slow.py: still being executed" in capfd.readouterr().err


POSTPONED = """
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from otadet.exp import BaseExp

@dataclass(frozen=True)
class Noise:
    strength: float = 1.0

class Exp(BaseExp):
    cache: Path | None = None
    noise: Noise = Noise(0.5)
"""


def test_annotations_may_be_postponed(tmp_path: Path) -> None:
    described = load_exp(write(tmp_path, POSTPONED, "mine.py")).describe()
    assert described["cache"] is None
    assert described["noise"] == {"part": "Noise", "file": "mine.py", "strength": 0.5}


def test_a_type_that_is_not_there_at_run_time_is_named(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom otadet.exp import BaseExp\nclass Exp(BaseExp):\n    a: Pth = None\n"
    )
    with pytest.raises(UserError, match=r"mine\.py.*'Pth' is not defined.*TYPE_CHECKING"):
        load_exp(write(tmp_path, text, "mine.py"))
