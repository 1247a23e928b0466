"""Computes of one image at a time, as fast as a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
Run = Callable[[Callable[[Tensor], Result], Tensor], list[Result]]


@contextmanager
def one_by_one(device: torch.device) -> Iterator[Run]:
    """Gives a function that calls another with each image of a batch (N, 3, H, W) and lists what it returns.

    On a CPU as many images are computed at a time as torch has threads, each by one thread, which leaves no thread
    waiting for another; how many threads there are then changes no bit of a result. What is called has to set
    `torch.no_grad` and the like itself, as they are settings of a thread.
    """
    if device.type != "cpu":
        yield lambda call, images: [call(image) for image in images]
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "image", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield lambda call, images: list(pool.map(call, images))
    finally:
        # Setting it in one thread is also setting what later threads begin with.
        torch.set_num_threads(threads)
