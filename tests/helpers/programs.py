"""The programs of this checkout that are not in the package, run in this process: an import of torch takes seconds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load_program(path: str) -> ModuleType:
    """A file such as "demo/onnx_numpy.py" as a module, which nothing else imports by its name."""
    spec = importlib.util.spec_from_file_location(f"{Path(path).stem}_program", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call_program(monkeypatch: pytest.MonkeyPatch, path: str, *arguments: object) -> None:
    """Run its `main` as if it had been called with these arguments."""
    monkeypatch.setattr(sys, "argv", [Path(path).stem, *map(str, arguments)])
    load_program(path).main()


def call_tool(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """`call_program` of tools/NAME.py."""
    call_program(monkeypatch, f"tools/{name}.py", *arguments)
