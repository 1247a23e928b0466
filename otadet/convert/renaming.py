"""Names of tensors, from one program's to another's, by rules that are tried in their order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from otadet.errors import UserError

Rule = tuple[str, str]
"""A regular expression for a part of a name, and what takes its place."""


def renamed(name: str, rules: Iterable[Rule]) -> str:
    """The name after all the rules, each applied wherever it fits."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def all_renamed(state: Mapping[str, Tensor], path: object, rules: Iterable[Rule]) -> dict[str, Tensor]:
    """The tensors of `state` by their new names. Raises `UserError`, naming the file, where two have one name."""
    rules = tuple(rules)
    found: dict[str, Tensor] = {}
    came_from: dict[str, str] = {}
    for name, tensor in state.items():
        new = renamed(name, rules)
        if new in found:
            raise UserError(f"{path}: {came_from[new]} and {name} are the same tensor, {new}, of this network")
        found[new], came_from[new] = tensor, name
    return found


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
