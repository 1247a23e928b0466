"""What the log is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger


@contextmanager
def logged(level: str = "TRACE", form: str = "{message}") -> Iterator[list[str]]:
    """The lines, of that level at least, while the block runs; each ends with a newline. form: loguru's."""
    lines: list[str] = []
    sink = logger.add(lines.append, level=level, format=form)
    try:
        yield lines
    finally:
        logger.remove(sink)
