"""The start of a network from another one's weights: all but its class layer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from otadet.convert.coco import COCO_CLASSES
from otadet.convert.programs import PROGRAMS, program_of, read_published
from otadet.convert.published import PUBLISHED, fetch_published, is_published, meant_name
from otadet.engine.adopt import Adopted, adopt, class_tensors
from otadet.engine.checkpoint import load_checkpoint, weights_of
from otadet.engine.weights import misfit
from otadet.errors import UserError


def read_start(weights: str) -> dict[str, Any]:
    """The entries `model`, `ema` and `class_names` of a checkpoint.

    weights: a file of otadet's, or a published name, which is fetched where it is not there yet. Raises `UserError`.
    """
    if is_published(weights):
        file = fetch_published(weights)
        published = read_published(file)
        program = PROGRAMS[program_of(published, file)]
        model = program.coco(program.named(published, file), file, PUBLISHED[weights].norm_eps)
        return {"model": model, "ema": None, "class_names": list(COCO_CLASSES)}
    if not os.path.exists(weights):
        raise UserError(f"weights {weights}: no such file{meant_name(weights)}")
    return load_checkpoint(weights)


def start(network: nn.Module, weights: str) -> None:
    """Put the weights that are named into a network of the same layout, all but the class layer's.

    Raises `UserError` where they cannot be read, and for a network of another layout.
    """
    network.load_state_dict(_all_but_classes(network, weights, read_start(weights)), strict=False)


def start_from(network: nn.Module, weights: str, state: Mapping[str, Any], class_names: Sequence[str]) -> Adopted:
    """`start`, with the rows of the class layer of those classes that have the same name.

    Args:
        network: changed in place.
        weights, state: the name of the checkpoint, and what `read_start` returned of it.
        class_names: (C,) of the network.

    Raises `UserError` where the network has another layout.
    """
    _all_but_classes(network, weights, state)
    return adopt(network, weights, state, class_names)


def _all_but_classes(network: nn.Module, weights: str, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights, the averaged ones where there are any. Raises `UserError` where they are not the network's."""
    own = network.state_dict()
    layer = class_tensors(own)
    theirs = {name: tensor for name, tensor in weights_of(state).items() if name not in layer}
    if different := misfit(network, {**theirs, **{name: own[name] for name in layer}}):
        fitting = f"model {PUBLISHED[weights].model}" if is_published(weights) else "the model that they are of"
        raise UserError(
            f"weights {weights}: not those of this network: {different}; choose {fitting}, or model.weights none"
        )
    return theirs
