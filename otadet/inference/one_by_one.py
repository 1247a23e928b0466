"""Computes of one image at a time, as fast as a batch of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Run(Protocol):
    """What `one_by_one` gives."""

    def __call__(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`call` of each item, in order."""


@contextmanager
def one_by_one(device: torch.device) -> Iterator[Run]:
    """Gives a `map` that calls a function with each of many images, however they came in batches.

    On a CPU as many images are computed at a time as torch has threads, each by one thread, which leaves no thread
    waiting for another; how many threads there are then changes no bit of a result. Only as many items are taken ahead
    as keep the threads busy. What is called has to set `torch.no_grad` and the like itself, as they are settings of a
    thread.
    """
    if device.type != "cpu":
        yield lambda call, items: map(call, items)
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "image", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield lambda call, items: _results(pool, call, items, ahead=threads)
    finally:
        # Setting it in one thread is also setting what later threads begin with.
        torch.set_num_threads(threads)


def _results(
    pool: ThreadPoolExecutor, call: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(call, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
