"""Tensors of a file that has the names of a network: which are there, and which fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from otadet.errors import UserError


def convolution(state: Mapping[str, Tensor], name: str, path: object, what: str) -> Tensor:
    """The weight (O, I, H, W) of that name, none of whose sides is 0.

    what: the networks that have it, for the message of the `UserError`, which names the file, where it is another.
    """
    tensor = state.get(name)
    if tensor is None or tensor.dim() != 4 or 0 in tensor.shape:
        found = "is missing" if tensor is None else f"is {tuple(tensor.shape)}"
        raise UserError(f"{path}: not the tensors of {what}: {name} {found}")
    return tensor


@dataclass(frozen=True)
class Fit:
    """What became of a state dictionary."""

    state: dict[str, Tensor]
    """By the names of the network."""
    unused: tuple[str, ...]
    """Names of the file that the network has no place for."""


def fit(network: nn.Module, state: Mapping[str, Tensor], path: object) -> Fit:
    """Those tensors of `state`, which has the names of `network`, that it has a place for: they have its shapes.

    The network may be on the device "meta". Counters of batches that a batch norm has seen may be missing. Raises
    `UserError`, naming the file and the first tensor, where one is missing, of another shape, made of whole numbers in
    place of others, or not finite.
    """
    wanted = network.state_dict()
    found = {name: _fitting(tensor, wanted[name], name, path) for name, tensor in state.items() if name in wanted}
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    if missing:
        raise UserError(f"{path}: lacks {len(missing)} of the network's {len(wanted)} tensors, {missing[0]} first")
    counters = {name: torch.zeros_like(wanted[name], device="cpu") for name in wanted if name not in found}
    return Fit({**found, **counters}, tuple(name for name in state if name not in wanted))


def _fitting(tensor: Tensor, wanted: Tensor, name: str, path: object) -> Tensor:
    """`tensor` in the number format of `wanted`, or a `UserError`."""
    if tensor.shape != wanted.shape:
        raise UserError(f"{path}: {name} is {tuple(tensor.shape)}, but {name} of the network is {tuple(wanted.shape)}")
    if wanted.is_floating_point() and not tensor.is_floating_point():
        raise UserError(f"{path}: {name} is of {tensor.dtype}; quantised weights cannot be converted")
    tensor = tensor.to(wanted.dtype)
    if not tensor.isfinite().all():
        raise UserError(f"{path}: {name} holds infinity or NaN")
    return tensor
