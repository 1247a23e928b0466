"""What a process holds back for a terminal that has been closed, or for a program that has ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otadet.data.workers import Work
from otadet.streams import flush_errors, flush_output


@pytest.fixture
def nobody_reads() -> Iterator[object]:
    """A stream into a pipe whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    yield stream
    flush_to_nowhere(stream)


def flush_to_nowhere(stream) -> None:
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
    stream.close()


def test_lost_errors_are_no_error(nobody_reads, monkeypatch):
    monkeypatch.setattr(sys, "stderr", nobody_reads)
    print("lost", file=sys.stderr)
    flush_errors()
    # From here on it can be written as any other.
    print("lost too", file=sys.stderr, flush=True)


def test_a_lost_output_is_an_error(nobody_reads, monkeypatch):
    monkeypatch.setattr(sys, "stdout", nobody_reads)
    print("a result")
    with pytest.raises(BrokenPipeError):
        flush_output()


def test_loader_processes_start_without_a_terminal(nobody_reads, monkeypatch):
    monkeypatch.setattr(sys, "stderr", nobody_reads)
    print("lost", file=sys.stderr)
    assert list(Work(Path, ["a", "b"]).results(1)) == [Path("a"), Path("b")]
