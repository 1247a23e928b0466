"""Names of tensors, from one program's to another's, by rules that are tried in their order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from otadet.errors import UserError

Rule = tuple[str, str]
"""A regular expression for a part of a name, and what takes its place."""


def renamed(name: str, rules: Iterable[Rule]) -> str:
    """The name after all the rules, each applied wherever it fits."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


@dataclass(frozen=True)
class Fit:
    """What became of a state dictionary."""

    state: dict[str, Tensor]
    """By the names of the network."""
    unused: tuple[str, ...]
    """Names of the file that the network has no place for."""


def fit(network: nn.Module, state: Mapping[str, Tensor], rules: Sequence[Rule], path: object) -> Fit:
    """The tensors of `state` by the names of `network`, whose shapes they all have.

    Counters of batches that a batch norm has seen may be missing. Raises `UserError`, naming the file and the first
    tensor, where one is missing or of another shape, and where two have one name.
    """
    wanted = network.state_dict()
    found: dict[str, Tensor] = {}
    came_from: dict[str, str] = {}
    for name, tensor in state.items():
        new = renamed(name, rules)
        if new in came_from:
            raise UserError(f"{path}: {came_from[new]} and {name} are the same tensor, {new}, of this network")
        came_from[new] = name
        if new in wanted:
            if tensor.shape != wanted[new].shape:
                raise UserError(
                    f"{path}: {name} is {tuple(tensor.shape)}, but {new} of the network is {tuple(wanted[new].shape)}"
                )
            found[new] = tensor.to(wanted[new].dtype)
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    if missing:
        raise UserError(f"{path}: lacks {len(missing)} of the network's {len(wanted)} tensors, {missing[0]} first")
    counters = {name: tensor for name, tensor in wanted.items() if name not in found}
    return Fit({**found, **counters}, tuple(old for new, old in came_from.items() if new not in wanted))
