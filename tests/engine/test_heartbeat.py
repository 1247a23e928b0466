import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from otadet.engine.heartbeat import Heartbeat


@pytest.fixture
def three():
    """Three processes' signs of life, and what each was told of the others."""
    store = dist.HashStore()
    told = [[] for _ in range(3)]

    def start(rank: int) -> Heartbeat:
        return Heartbeat(lambda: store, rank, 3, 2.0, told[rank].append)

    with ThreadPoolExecutor(3) as pool:
        hearts = list(pool.map(start, range(3)))
    yield hearts, told
    for heart in hearts:
        heart.stop()


def wait_for(condition, seconds: float = 60.0) -> None:
    """Wait until the condition holds. The limit is only there so that a failing test ends."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_one_that_falls_silent_is_named_by_the_others(three):
    hearts, told = three
    hearts[1].stop()
    wait_for(lambda: told[0] and told[2])
    for messages in (told[0], told[2]):
        assert len(messages) == 1
        assert "no sign of life of process 1 (" in messages[0]
        assert "for 2 s" in messages[0]
        assert "process 0" not in messages[0]
        assert "process 2" not in messages[0]
    assert told[1] == []


def test_one_that_leaves_in_order_is_not_missed(three):
    hearts, told = three
    hearts[1].leave()
    hearts[0].stop()
    wait_for(lambda: told[2])
    assert "process 0 (" in told[2][0]
    assert "process 1" not in told[2][0]


def test_nobody_is_gone_who_still_beats(three):
    hearts, _ = three
    assert hearts[0].who_is_gone() is None


def test_after_a_failure_those_who_are_silent_are_gone(three):
    hearts, _ = three
    hearts[2].stop()
    assert "process 2 (" in hearts[0].who_is_gone(patience=1.0)


def test_without_a_way_to_the_store_its_host_is_gone():
    gates = [threading.Event(), threading.Event()]
    for gate in gates:
        gate.set()

    class CutOff:
        """A store whose answers do not come once the gate is closed."""

        def __init__(self, store, gate) -> None:
            self._store, self._gate = store, gate

        def __getattr__(self, name):
            self._gate.wait()
            return getattr(self._store, name)

    store, told = dist.HashStore(), []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(Heartbeat, lambda: CutOff(store, gates[0]), 0, 2, 0.5, lambda message: None)
        second = pool.submit(Heartbeat, lambda: CutOff(store, gates[1]), 1, 2, 0.5, told.append)
    gates[1].clear()
    wait_for(lambda: told)
    assert "process 0 (" in told[0]
    gates[1].set()
    first.result().stop()
    second.result().stop()
