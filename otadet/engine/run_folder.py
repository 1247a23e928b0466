"""The output folder of a run: it can be written, belongs to one training at a time, and keeps what was there before."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loguru import logger

from otadet.errors import OutputError, UserError, reason_of
from otadet.files import check_folder
from otadet.locks import TAKEN, is_same, lock, unlock

LOCK_FILE = ".lock"
RUN_FILES = (
    "last.pth",
    "last.previous.pth",
    "best.pth",
    "metrics.csv",
    "train.log",
    "curves.png",
    "predictions.png",
    "tensorboard",
)
"""What a run leaves in its output folder."""


@contextmanager
def run_folder(output: str | Path) -> Iterator[None]:
    """The folder `output`, made where it is missing, for this process alone.

    The lock is the process's, so that it ends with it however that ends; the file that is left then blocks nobody.
    Where the file system has no locks a warning is all that happens. Raises `UserError` before anything is written:
    for a folder that cannot be made or written, and for one in which another training is at work.
    """
    output = Path(output)
    handle, made = None, not os.path.lexists(output)
    try:
        check_folder(output)
        handle = _lock(output / LOCK_FILE)
        yield
    finally:
        if handle is not None:
            unlock(handle, output / LOCK_FILE)
        if made:
            with suppress(OSError, ValueError):
                # Only where a mistake ended the run before it left anything.
                output.rmdir()


def archive_previous_run(output: str | Path) -> None:
    """Move what an earlier run left in `output` into its sub-folder previous-N, so that a new run replaces nothing.

    Raises `OutputError` where it cannot be moved.
    """
    output = Path(output)
    left = [output / name for name in RUN_FILES if os.path.exists(output / name)]
    if not left:
        return
    number = 1
    while os.path.exists(aside := output / f"previous-{number}"):
        number += 1
    try:
        aside.mkdir()
        for path in left:
            path.rename(aside / path.name)
    except OSError as error:
        raise OutputError(
            f"{output}: what an earlier run left cannot be moved to {aside} ({reason_of(error)}); "
            "choose another --output"
        ) from error
    logger.info(f"moved an earlier run in {output} to {aside} (--resume would have continued it)")


def _lock(path: Path) -> int | None:
    """The open, locked file, which holds who locked it; None where there are no locks."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"{path}: cannot be opened ({reason_of(error)}); choose another --output") from error
        try:
            lock(handle)
        except OSError as error:
            text = os.read(handle, 200).decode("utf-8", "replace").strip()
            os.close(handle)
            if error.errno in TAKEN:
                raise UserError(
                    f"{path.parent}: another training is at work in it ({text or 'it does not say which'}); "
                    "wait for its end or stop it, or choose another --output"
                ) from error
            logger.warning(
                f"{path.parent}: its file system has no locks ({reason_of(error)}), so that a second training "
                "in it would not be noticed"
            )
            return None
        if is_same(handle, path):
            break
        # The holder of a moment ago has removed the file that is locked now.
        os.close(handle)
    os.truncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return handle
