"""The programs whose checkpoints can be read, and which of them a file is from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from otadet.convert import detectron2, torchvision
from otadet.convert.yolox import AUTHORS, MMDET, for_rgb
from otadet.errors import UserError
from otadet.models.renaming import all_renamed
from otadet.names import name_list
from otadet.torch_file import read_weights_file


@dataclass(frozen=True)
class Program:
    """A program that writes checkpoints."""

    signs: tuple[str, ...]
    """Tensors that only its checkpoints have."""
    named: Callable[[Mapping[str, Tensor], object], dict[str, Tensor]]
    """(its tensors, the file) -> the same by otadet's names; `UserError`, naming the file, where two have one name."""
    coco: Callable[[dict[str, Tensor], object, float | None], dict[str, Tensor]]
    """(those by otadet's names, the file, eps of its batch norms where it is unusual) -> the weights of otadet's
    network, with COCO's 80 classes, where they were trained for these."""


def _of_yolox(named: dict[str, Tensor], path: object, norm_eps: float | None) -> dict[str, Tensor]:
    return for_rgb(named)


PROGRAMS: Mapping[str, Program] = {
    "yolox": Program(("backbone.backbone.stem.conv.conv.weight",), partial(all_renamed, rules=AUTHORS), _of_yolox),
    "mmdet-yolox": Program(("bbox_head.multi_level_conv_cls.0.weight",), partial(all_renamed, rules=MMDET), _of_yolox),
    "torchvision": Program(torchvision.SIGNS, torchvision.named, torchvision.coco_weights),
    "detectron2": Program(detectron2.SIGNS, detectron2.named, detectron2.coco_weights),
}
"""By the word for `--from`."""
_STATES = ("ema", "model", "state_dict", "model_ema", "ema_state_dict", "module", "model_state_dict")
"""Keys that the tensors may lie under, also one in another; averaged weights are those that were evaluated."""
_PARALLEL = "module."
"""What PyTorch's wrappers put before every name."""
MAX_NAME = 1000
"""Characters of the name of a tensor."""


def read_published(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint of another program. Raises `UserError` for a file that is none, or damaged."""
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder; name a file in it")
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file")
    content = read_weights_file(path, path)
    if isinstance(content, dict) and {"format", "otadet"} <= content.keys():
        raise UserError(f"{path}: is a checkpoint of otadet already; -c takes it as it is")
    state = _tensors_of(content)
    if not state:
        raise UserError(f"{path}: holds no tensors by name")
    for name in state:
        if not name.isprintable() or len(name) > MAX_NAME:
            raise UserError(f"{path}: holds a tensor whose name is none, {name[:50]!a}")
    while all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}
    return state


def _tensors_of(content: object) -> dict[str, Tensor]:
    """The tensors of a dictionary by their names, or those of the first of `_STATES` in it that has any."""
    if not isinstance(content, dict):
        return {}
    inside = (_tensors_of(content[key]) for key in _STATES if key in content)
    own = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    return next((state for state in inside if state), own)


def program_of(state: Mapping[str, Tensor], path: object, said: str | None = None) -> str:
    """The word of the program that wrote the tensors.

    said: the one that the user names. Raises `UserError` where it is none of `PROGRAMS`, or another one.
    """
    found = [word for word, program in PROGRAMS.items() if all(sign in state for sign in program.signs)]
    if said is not None and found in ([], [said]):
        return said
    if said is not None:
        raise UserError(f"{path}: has the names of {' and '.join(found)}, not of {said}; omit --from")
    if len(found) != 1:
        torchvision.refuse(state, path)
        raise UserError(
            f"{path}: its tensors ({name_list(list(state), 3)}) have the names of none of {', '.join(PROGRAMS)}, from "
            "whose checkpoints otadet converts"
        )
    return found[0]
