"""The programs whose checkpoints can be read, and which of them a file is from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from otadet.convert.renaming import Rule
from otadet.convert.yolox import AUTHORS, MMDET
from otadet.errors import UserError
from otadet.torch_file import read_weights_file

PROGRAMS: Mapping[str, tuple[str, tuple[Rule, ...]]] = {
    "yolox": ("backbone.backbone.stem.conv.conv.weight", AUTHORS),
    "mmdet-yolox": ("bbox_head.multi_level_conv_cls.0.weight", MMDET),
}
"""Word -> a tensor that only its checkpoints have, and the rules for the names of the others."""
_STATES = ("model", "state_dict")
"""Keys that the tensors may lie under."""


def read_published(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint of another program. Raises `UserError` for a file that is none, or damaged."""
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file")
    content = read_weights_file(path, path)
    for key in _STATES:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no dictionary of tensors")
    state = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    if not state:
        raise UserError(f"{path}: holds no tensors by name")
    return state


def program_of(state: Mapping[str, Tensor], path: object) -> str:
    """The word of the program that wrote the tensors. Raises `UserError` where it is none of `PROGRAMS`."""
    found = [word for word, (sign, _) in PROGRAMS.items() if sign in state]
    if len(found) != 1:
        first = ", ".join(list(state)[:3])
        raise UserError(
            f"{path}: its tensors ({first}, ...) have the names of none of {', '.join(PROGRAMS)}, from whose "
            "checkpoints otadet converts"
        )
    return found[0]
