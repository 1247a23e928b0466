"""Which room of the house may import which: down only, and no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "otadet"

GROUND = {
    "array_pickle",
    "boxes",
    "command_line",
    "distributed",
    "download",
    "errors",
    "files",
    "focal",
    "generators",
    "integers",
    "limits",
    "locks",
    "names",
    "part",
    "pickle_grammar",
    "signals",
    "streams",
    "structures",
    "system_files",
    "torch_file",
    "user_modules",
    "values",
}
"""Files that everybody may use, and that use only each other."""

BELOW: dict[str, set[str]] = {
    "assigners": set(),
    "models": set(),
    "data": set(),
    "optim": set(),
    "convert": {"models"},
    "profiling": {"models"},
    "losses": {"assigners"},
    "inference": {"models", "data"},
    "evaluation": {"models", "data", "inference"},
    "export": {"models", "data", "inference"},
    "analysis": {"assigners", "models", "data", "inference"},
    "visualize": {"analysis"},
    "engine": {"models", "data", "optim"},
    "exp": {"assigners", "convert", "models", "data", "optim", "losses", "inference", "engine"},
    "apps": {
        "analysis",
        "assigners",
        "convert",
        "data",
        "engine",
        "evaluation",
        "exp",
        "export",
        "inference",
        "losses",
        "models",
        "optim",
        "profiling",
        "visualize",
    },
    "cli": {"assigners", "engine", "exp", "apps"},
    "__main__": {"cli"},
}
"""Room: the rooms that it may import besides the ground floor. The inference side imports no training code, nothing
below `exp` knows an experiment, and `engine` receives what it trains with."""
FRONT = {"apps", "export", "inference"}
"""What `otadet/__init__.py` may import, for `otadet.load` and its types."""


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imported(file: Path, known: dict[str, Path]) -> Iterator[tuple[str, int, bool]]:
    return imported_by(file.read_text(encoding="utf-8"), known)


def imported_by(text: str, known: dict[str, Path]) -> Iterator[tuple[str, int, bool]]:
    """(module of otadet, line, whether it is imported as soon as the file is) of every import, also in functions and
    for type checkers alone. One that begins with a dot counts as one of a room that nobody may import."""
    tree = ast.parse(text)
    at_once = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [
                inner if (inner := f"{node.module}.{alias.name}") in known else node.module for alias in node.names
            ]
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = ["otadet.relative"]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] == "otadet":
                yield name, node.lineno, id(node) in at_once


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def may_import(importer: str, other: str) -> bool:
    if other in (importer, "") or other in GROUND:
        return True
    if importer == "":
        return other in FRONT
    return other in BELOW.get(importer, set())


def test_every_room_has_its_place():
    rooms = {room(name) for name in modules()} - {""}
    assert rooms - GROUND == BELOW.keys()
    assert set().union(*BELOW.values()) <= BELOW.keys()
    list(TopologicalSorter(BELOW).static_order())


def test_imports_go_down_only():
    known = modules()
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {other}"
        for name, file in known.items()
        for other, line, _ in imported(file, known)
        if not may_import(room(name), room(other))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_needs_itself():
    known = modules()
    needs = {name: {other for other, _, at_once in imported(file, known) if at_once} for name, file in known.items()}
    # A package's __init__ names its files, which may name each other by their own names.
    graph = {name: {other for other in others if other != name} for name, others in needs.items()}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    "planted",
    [
        "import otadet.engine.trainer",
        "import numpy, otadet.engine as e",
        "from otadet.engine import stop",
        "from otadet import engine",
        "from otadet.engine.stop import (\n    leave as go,\n)",
        "def late():\n    from otadet.engine.stop import leave",
        "if TYPE_CHECKING:\n    from otadet.engine.stop import StopRequest",
        "from ..engine import stop",
        "from .. import engine",
    ],
)
def test_a_planted_import_is_found(planted: str) -> None:
    found = [room(other) for other, _, _ in imported_by(planted, modules())]
    assert not all(may_import("data", other) for other in found)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("importer", "other", "allowed"),
    [
        ("data", "engine", False),
        ("inference", "optim", False),
        ("engine", "exp", False),
        ("errors", "data", False),
        ("exp", "losses", True),
        ("apps", "errors", True),
    ],
)
def test_the_table_says_what_the_house_says(importer, other, allowed):
    assert may_import(importer, other) is allowed
