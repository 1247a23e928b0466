"""stdout and stderr before a process starts another or ends: their readers, a terminal or a pipe, may be gone."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def flush_output() -> None:
    """Write what stdout and stderr hold back. Raises `OSError` where stdout, which is asked for, cannot be written."""
    flush_errors()
    sys.stdout.flush()


def flush_errors() -> None:
    """Write what stderr holds back. Where nobody takes it, that and all that follows is lost, and nothing else."""
    with suppress(OSError):
        sys.stderr.flush()
        return
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)
        sys.stderr.flush()
