"""A row measured by a process of its own, which can be ended when it takes too long, as compiling may."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Variables that name where the compilers keep what they made. Ended in the midst of writing, they leave files behind
that a later program takes for whole, so that the child has folders of its own."""

FOLDER = "train-step-"
"""How the names of folders begin that are removed at the end."""


def run_child(command: Sequence[str], output: Path, seconds: float | None) -> dict[str, Any]:
    """What the command writes to `output` as JSON. Raises `ChildError` where that does not come within `seconds`.

    The processes that it started itself end with it, and what its compilers kept is removed.
    """
    # A last process may still be writing when the folder is removed.
    with TemporaryDirectory(prefix=f"{FOLDER}compiled-", ignore_cleanup_errors=True) as cache:
        folders = {name: str(Path(cache, name.partition("_")[0].lower())) for name in CACHES}
        return _run(command, output, seconds, {**os.environ, **folders})


def _run(command: Sequence[str], output: Path, seconds: float | None, environment: dict[str, str]) -> dict[str, Any]:
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env=environment,
    ) as child:
        try:
            _, errors = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise ChildError(f"not done within {seconds:.0f} s") from error
        finally:
            _end(child)
    if child.returncode or not output.is_file():
        last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "no message")
        raise ChildError(f"ended with status {child.returncode}: {last}")
    return json.loads(output.read_text(encoding="utf-8"))


def end_with(parent: int, output: Path) -> None:
    """Let this process, one of `run_child`, end with its own ones when `parent` has been killed; the folders go too.

    parent: process id of the one that called `run_child`. output: what it was told to write. Does nothing on Windows,
    where parents leave no trace.
    """
    folders = [Path(os.environ.get(CACHES[0], "")).parent, output.absolute().parent]

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        for folder in folders:
            if folder.name.startswith(FOLDER):
                shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)

    if os.name == "posix":
        threading.Thread(target=watch, name="watch the parent", daemon=True).start()


class ChildError(Exception):
    """The message says why there is no result."""


def _end(child: subprocess.Popen) -> None:
    """The child, and the compiler's processes that it has left."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
