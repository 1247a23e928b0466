"""The log of a run: to the terminal, and to a file in its folder."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from otadet.errors import OutputError, reason_of

if TYPE_CHECKING:
    from loguru import Record


def configure_log(file: str | Path | None = None, *, quiet: bool = False) -> None:
    """Log times and messages to stderr, and to the end of `file`; nothing at all when `quiet`.

    Raises `OutputError` for a file that cannot be opened.
    """
    logger.remove()
    if quiet:
        return
    logger.add(sys.stderr, format=_format, level="INFO")
    if file is not None:
        logger.add(_LogFile(Path(file)), format=_format, level="INFO")


def configure_plain_log() -> None:
    """Log to stderr as a tool that runs for a moment prints: messages alone, warnings as `warning: ...`."""
    logger.remove()
    logger.add(sys.stderr, format=_plain_format, level="INFO")


class _LogFile:
    """The end of a text file. Once it cannot be written that is said, and no line goes there any more.

    A path of loguru's own would be a template, in which braces mean something, and a traceback for every line that
    cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
        try:
            # A line is written at once, so that nothing is held back when the process ends.
            self._file = open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
        except (OSError, ValueError) as error:
            raise OutputError(f"{path}: cannot be written ({error}); choose another --output") from error

    def write(self, line: str) -> None:
        """Append one message of the log."""
        try:
            self._file.write(line)
        except OSError as error:
            if not self._failed:
                self._failed = True
                _complain(f"{self._path}: cannot be written any more ({reason_of(error)})")

    def stop(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:
            if not self._failed:
                _complain(f"{self._path}: its end could not be written ({reason_of(error)})")


def _complain(message: str) -> None:
    # The terminal may have been closed, or its log be on the same full disk.
    with suppress(OSError):
        print(message, file=sys.stderr)


def _plain_format(record: Record) -> str:
    level = record["level"].name.lower()
    return ("" if level == "info" else f"{level}: ") + "{message}\n"


def _format(record: Record) -> str:
    """A plain line; its level is said only where it is not the usual one."""
    level = "" if record["level"].name == "INFO" else "<level>{level.name}: </level>"
    return f"<dim>{{time:HH:mm:ss}}</dim> {level}{{message}}\n"
