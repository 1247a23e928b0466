"""A user's Python files as modules: executed, and found again by pickle, also in another process."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import FunctionType, ModuleType
from typing import IO, Any

from otadet.errors import UserError, did_you_mean

_PREFIX = "otadet_exp_"
_PATIENCE = 10.0
"""Seconds after which it is said that a file is still being executed."""


def load_module(path: Path, name: str | None = None) -> ModuleType:
    """Execute an experiment file, and enter it in `sys.modules`, as dataclasses, annotations and pickle need it.

    name: of the module; None makes one from the file's, and from a number where another file has it already. Raises
    `UserError` for a file that is missing or fails.
    """
    _check_file(path)
    name = _free_name(path) if name is None else name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: not a Python file; an experiment file ends in .py")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        with impatient(path):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        if isinstance(error, UserError):
            raise UserError(f"{path}{place_of(error, path)}: {error}") from error
        if not isinstance(error, Exception | SystemExit):
            raise
        kind = type(error).__name__
        raise UserError(f"{path}{place_of(error, path)}: fails when it is loaded: {kind}: {error}") from error
    return module


def place_of(error: BaseException, path: Path) -> str:
    """`", line 12"`, the last line of the file `path` that the error went through, or an empty string."""
    if isinstance(error, SyntaxError) and error.filename == str(path) and error.lineno:
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


class Portable:
    """A value whose classes may be those of an experiment file: pickled, it takes the files along.

    A process that is not forked knows nothing of such a file until it unpickles this.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        content = io.BytesIO()
        pickler = _ModuleRecorder(content)
        pickler.dump(self.value)
        files = {name: sys.modules[name].__file__ for name in sorted(pickler.modules) if name.startswith(_PREFIX)}
        return _restore, (files, content.getvalue())


class _ModuleRecorder(ForkingPickler):
    """Remembers the modules of the classes and functions that it pickles by name."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.modules: set[str] = set()

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType):
            self.modules.add(value.__module__)
        return NotImplemented


def _restore(files: dict[str, str], content: bytes) -> Portable:
    for name, file in files.items():
        if name not in sys.modules:
            load_module(Path(file), name)
    return Portable(pickle.loads(content))


def _check_file(path: Path) -> None:
    try:
        if os.path.isfile(path):
            return
        siblings = [str(sibling) for sibling in path.parent.glob("*.py")] if os.path.isdir(path.parent) else []
    except (OSError, ValueError) as error:
        raise UserError(f"{str(path)!r}: no such experiment file ({error})") from error
    raise UserError(f"{path}: no such experiment file{did_you_mean(str(path), siblings)}")


def _free_name(path: Path) -> str:
    stem = _PREFIX + re.sub(r"\W", "_", path.stem)
    name, number, own = stem, 1, os.path.realpath(path)
    while (other := getattr(sys.modules.get(name), "__file__", None)) and os.path.realpath(other) != own:
        number += 1
        name = f"{stem}_{number}"
    return name


@contextmanager
def impatient(path: Path) -> Iterator[None]:
    """Say so where the block takes long: a file may wait for a download, for input, or for ever."""
    text = f"{path}: still being executed after {_PATIENCE:g} seconds; Ctrl-C ends it"
    timer = threading.Timer(_PATIENCE, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
