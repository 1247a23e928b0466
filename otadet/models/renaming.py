"""Names of tensors, from one program's to another's, by rules that are tried in their order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

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
