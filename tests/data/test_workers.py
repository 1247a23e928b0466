"""Loader processes, where the process itself is the subject: signals, deaths, memory that crosses."""

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from otadet.data import workers
from otadet.data.workers import Work
from otadet.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Number:
    """Arrays of the item, and who made them; at item `at` something happens to the worker."""

    at: int = -1
    what: str = ""

    def __call__(self, item: int) -> tuple[int, np.ndarray, np.ndarray, list[str]]:
        if item == self.at:
            match self.what:
                case "sleep":
                    time.sleep(60)
                case "key error":
                    raise KeyError("broken")
                case "memory error":
                    raise MemoryError
                case name:
                    os.kill(os.getpid(), getattr(signal, name))
        return os.getpid(), np.full((item % 3, 5), item), np.arange(item, dtype=np.float32), [str(item)]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(true, seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order_and_arrays_can_be_written(count):
    expected = list(Work(Number(), range(count)).results(0))
    found = list(Work(Number(), range(count)).results(3))
    assert len(found) == count
    for (_, *one), (_, *other) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
        assert one[2] == other[2]
        one[1][:] = 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_nothing_stays_open_or_alive():
    list(Work(Number(), range(3)).results(2))
    before = open_files()
    for _ in range(3):
        results = Work(Number(), range(1000)).results(2)
        made = [next(results) for _ in range(20)]
        # Two pipes and what watches over two processes, however many results are held.
        assert open_files() <= before + 8
        results.close()
        assert not any(is_running(pid) for pid, *_ in made)
    assert open_files() == before


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("SIGKILL", r"^loader process \d+ was killed by SIGKILL, mostly because memory ran out"),
        ("SIGUSR1", r"^loader process \d+ was killed by SIGUSR1, so it crashed: workers 0"),
        ("memory error", r"lacks memory.*smaller batch_size"),
    ],
)
def test_a_worker_that_is_gone_is_one_line(what, message):
    with pytest.raises(UserError, match=message) as caught:
        list(Work(Number(3, what), range(9)).results(2))
    assert "\n" not in str(caught.value)


def test_an_error_keeps_its_kind_and_says_where_it_was():
    with pytest.raises(KeyError, match="broken") as caught:
        list(Work(Number(3, "key error"), range(9)).results(2))
    assert "in a loader process" in str(caught.value.__cause__)
    assert "tests/data/test_workers.py" in str(caught.value.__cause__)


def test_no_more_descriptors_are_an_error_and_no_wait():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    results = Work(Number(), range(99)).results(2)
    next(results)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(UserError, match="too many open files: raise the limit, as in ulimit -n"):
            list(results)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_wish_to_stop_ends_the_wait_for_a_worker_that_hangs(monkeypatch):
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.1)
    results = Work(Number(1, "sleep"), range(4)).results(2, stop=lambda: True)
    pid, *_ = next(results)
    with pytest.raises(UserError, match=r"loader process \d+ has given no images.*does the disk"):
        next(results)
    assert not is_running(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_leaves_signals_to_the_main_process(number):
    results = Work(Number(), range(30)).results(2)
    pids = {next(results)[0] for _ in range(2)}
    for pid in pids:
        os.kill(pid, number)
    assert {pid for pid, *_ in results} == pids


PARENT = """
import os, signal, sys, time
sys.path[:0] = {path!r}
import multiprocessing
from tests.data.test_workers import Number
from otadet.data.workers import Work

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: None)
    results = Work(Number(), range(10**9)).results(2)
    if sys.argv[2] == "group":
        # Sent while the workers begin, and again and again.
        if not os.fork():
            for _ in range(200):
                os.killpg(0, signal.SIGTERM)
                time.sleep(0.01)
            os._exit(0)
        for _ in range(60):
            next(results)
            time.sleep(0.03)
        print("all there", flush=True)
        sys.exit(0)
    print(*(next(results)[0] for _ in range(2)), flush=True)
    if sys.argv[2] == "raise":
        raise ZeroDivisionError
    time.sleep(60)
"""


@pytest.fixture
def parent(tmp_path):
    """A function that starts a process with two workers."""
    (tmp_path / "parent.py").write_text(PARENT.format(path=[str(ROOT)]))

    def start(method: str, then: str) -> subprocess.Popen:
        command = [sys.executable, tmp_path / "parent.py", method, then]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, start_new_session=True, **pipes)

    return start


@pytest.mark.parametrize("then", ["kill", "raise"])
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_workers_end_with_their_parent_however_it_ends(parent, then):
    process = parent("fork", then)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    if then == "kill":
        process.kill()
    process.communicate()
    assert wait_until(lambda: not any(map(is_running, pids)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs masks of signals")
def test_a_signal_to_the_group_at_any_moment_ends_no_worker(parent, method):
    output, errors = parent(method, "group").communicate()
    assert (output, errors) == ("all there\n", "")
