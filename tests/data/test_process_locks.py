"""A process that is forked while other threads read images is as if they did not."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from PIL import Image

from otadet.data import process_locks
from otadet.data.pillow_files import pillow_limit
from otadet.data.stderr import CaughtStderr

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def held(block: Callable[[], AbstractContextManager[object]]) -> threading.Thread:
    """A thread that is in the block for a moment, started when it is."""
    inside = threading.Event()

    def hold() -> None:
        with block():
            inside.set()
            threading.Event().wait(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    return thread


BLOCKS = {"stderr": lambda: CaughtStderr(re.compile("")), "Pillow": lambda: pillow_limit(7)}


def is_free() -> bool:
    return not (process_locks.STDERR.locked() or process_locks.PILLOW.locked())


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_fork_waits_for_other_threads(block: Callable[[], AbstractContextManager[object]]) -> None:
    before = os.fstat(2).st_ino, Image.MAX_IMAGE_PIXELS
    thread = held(block)
    assert (os.fstat(2).st_ino, Image.MAX_IMAGE_PIXELS) != before
    child = os.fork()
    if not child:
        os._exit(0 if is_free() and (os.fstat(2).st_ino, Image.MAX_IMAGE_PIXELS) == before else 1)
    status = os.waitpid(child, 0)[1]
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert is_free()
