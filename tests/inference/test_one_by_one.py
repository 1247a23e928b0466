"""Images are computed side by side, in order, and no further ahead than there are threads."""

import threading

import pytest
import torch

from otadet.inference.one_by_one import one_by_one
from tests.helpers.toy_training import CPU


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("two_threads")
def test_two_images_run_at_a_time_however_they_come():
    together = threading.Barrier(2)

    def call(number: int) -> tuple[int, int]:
        together.wait(30)
        return number, torch.get_num_threads()

    with one_by_one(CPU) as run:
        assert list(run(call, iter(range(6)))) == [(number, 1) for number in range(6)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_only_as_many_are_taken_as_keep_the_threads_busy():
    taken = []

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    with one_by_one(CPU) as run:
        results = run(lambda number: -number, items())
        assert next(results) == 0
        assert taken == [0, 1, 2]
        results.close()
        assert taken == [0, 1, 2]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("where", ["call", "items"])
def test_an_error_comes_through(where):
    def call(number: int) -> int:
        if where == "call" and number == 2:
            raise ValueError("of the image")
        return number

    def items():
        yield from range(3)
        if where == "items":
            raise ValueError("of the image")
        yield 3

    with one_by_one(CPU) as run, pytest.raises(ValueError, match="of the image"):
        list(run(call, items()))
    assert torch.get_num_threads() == 2
