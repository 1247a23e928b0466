"""Time, peak memory and device operations of a call."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_WITHOUT_LAUNCH = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach"})
_WAITS = frozenset({"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal"})
_INDEXING = frozenset({"index", "index_put", "index_put_"})

FAST = 0.1
"""Seconds below which a call is timed twice in its turn."""


class Meter(TorchDispatchMode):
    """Counts operations on a device and tracks the storages that live there, while it is entered."""

    launches: int
    """Operations that give the device work: neither views nor allocations."""
    waits: int
    """Operations whose result the host must wait for, such as `.item()`, `nonzero` and boolean-mask indexing."""
    peak: int
    """Bytes of the tensors made inside that were alive at once. What one operation takes and gives back within itself
    is not seen."""

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.launches = self.waits = self.peak = 0
        self._device_type = device_type
        self._live = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs, outputs = self._on_device((args, kwargs)), self._on_device(result)
        name = func.overloadpacket.__name__
        if inputs or outputs:
            is_wait = name in _WAITS or (name in _INDEXING and _has_mask(args[1]))
            self.waits += is_wait or (name == "_to_copy" and not outputs)
            self.launches += bool(outputs) and not (func.is_view or name in _WITHOUT_LAUNCH)
        given = {_key(tensor) for tensor in inputs}
        for tensor in outputs:
            if _key(tensor) not in given:
                self._track(tensor)
        return result

    def _on_device(self, tree: Any) -> list[Tensor]:
        leaves = tree_leaves(tree)
        return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.device.type == self._device_type]

    def _track(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._known:
            return
        size = storage.nbytes()
        self._live += size
        self.peak = max(self.peak, self._live)
        self._known[key] = weakref.ref(storage, lambda _: self._release(key, size))

    def _release(self, key: int, size: int) -> None:
        self._live -= size
        self._known.pop(key, None)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _has_mask(indices: Any) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(indices))


def metered(call: Callable[[], Any], device: torch.device) -> Meter:
    """Call once, with a meter."""
    with Meter(device.type) as meter:
        call()
    return meter


def interleaved_timings(
    calls: Mapping[str, Callable[[], Any]], device: torch.device, repeat: int, budget: float
) -> dict[str, list[float]]:
    """Seconds of `repeat` turns of each, one of each after the other, so that what disturbs the machine disturbs all.

    A turn is one call, or the faster of two where the first took less than `FAST` seconds: it may have found the
    processor's caches full of what the call before it left. A call that has taken more than `budget` seconds in all is
    not repeated any more.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeat):
        for name, call in calls.items():
            if sum(seconds[name]) <= budget:
                first = _timed(call, device)
                seconds[name].append(min(first, _timed(call, device)) if first < FAST else first)
    return seconds


def _timed(call: Callable[[], Any], device: torch.device) -> float:
    wait_for(device)
    start = perf_counter()
    call()
    wait_for(device)
    return perf_counter() - start


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
