"""One process per device, and the few things they say to each other. With one device there is no process group."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from otadet.errors import MainProcessError, UserError

T = TypeVar("T")

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


def rank() -> int:
    """Number of this process, 0 when it is the only one."""
    return dist.get_rank() if _grouped() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _grouped() else 1


def processes_on_this_machine() -> int:
    """How many of `world_size` are on the machine of this one."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))


def is_main() -> bool:
    """Whether this process is the one that evaluates, logs and writes."""
    return rank() == 0


def gather_objects(value: Any) -> list[Any]:
    """On the main process the `value` of every process, in order of rank; on the others an empty list."""
    if not _grouped():
        return [value]
    gathered = [None] * world_size() if is_main() else None
    dist.gather_object(value, gathered)
    return gathered or []


def broadcast_object(value: Any) -> Any:
    """The main process's `value`, on every process."""
    if not _grouped():
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def from_main(make: Callable[[], T]) -> T:
    """What `make` returns in the main process, where alone it is called, on every process.

    A `UserError` of it is raised everywhere: in the main process as it is, in the others as a `MainProcessError`.
    """
    if not _grouped():
        return make()
    value, error = None, None
    if is_main():
        try:
            value = make()
        except UserError as raised:
            error = raised
    value, message = broadcast_object((value, None if error is None else str(error)))
    if error is not None:
        raise error
    if message is not None:
        raise MainProcessError(message)
    return value


def on_any_rank(flag: bool) -> bool:
    """Whether `flag` holds on any process."""
    return flag if not _grouped() else bool(sum_over_ranks(torch.tensor(int(flag))))


def raise_together(error: Exception | None, note: str = "") -> NoReturn:
    """Raise what `on_any_rank` found to be wrong: called by all processes, those without an `error` too.

    The first `UserError` is the main process's to say, with a `note` of its own; any other error is raised where it is.
    """
    messages = gather_objects(str(error) if isinstance(error, UserError) else None)
    if error is not None and not isinstance(error, UserError):
        raise error
    message = next((message for message in messages if message is not None), None)
    if is_main() and message is not None:
        raise UserError(f"{message}{note}") from error
    raise MainProcessError(message or "another process failed")


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """`tensor` summed in place over the processes, without waiting for the device."""
    if _grouped():
        dist.all_reduce(tensor)
    return tensor


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of `tensor`, which it changes in place, over the processes; without waiting for the device."""
    return sum_over_ranks(tensor) / world_size() if _grouped() else tensor


@contextmanager
def alone() -> Iterator[None]:
    """In here this process is the only one, and waits for no other: for what may fail in one of them."""
    before = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(before)


def _grouped() -> bool:
    return not _ALONE.get() and dist.is_available() and dist.is_initialized()
