"""Files of weights for a backbone: state dictionaries with the names of the package that the network is of."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from otadet.download import cache_folder, fetch
from otadet.errors import UserError
from otadet.torch_file import read_weights_file


def read_state(path: str) -> dict[str, Tensor]:
    """The tensors of a state dictionary, by name, in a file of `torch.save`, or one that is called `.safetensors`.

    Raises `UserError` where it is none.
    """
    if not os.path.isfile(path):
        raise UserError(f'weights {path}: no such file; give a file, "imagenet", or none to train from scratch')
    if path.endswith(".safetensors"):
        return _read_safetensors(path)
    state = read_weights_file(path, f"weights {path}")
    if isinstance(state, dict) and isinstance(inside := state.get("model", state.get("blobs")), dict):
        state = inside  # as Detectron2 and Detectron write them
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UserError(f"weights {path}: holds no state dictionary")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def fetch_state(address: str) -> dict[str, Tensor]:
    """The state dictionary of a file of torchvision's, which is fetched where it is not there yet, and verified.

    address: ends with the file's name, and this with the first digits of its checksum. Raises `UserError`.
    """
    file_name = address.rpartition("/")[2]
    # Where PyTorch keeps what it downloads; who has it there need not fetch it again.
    kept = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    digits = file_name.rpartition("-")[2].removesuffix(".pth")
    try:
        file = fetch(address, kept if kept.is_file() else cache_folder() / file_name, digits)
    except UserError as error:
        raise UserError(
            f"weights imagenet: {error}; or give a local file (backbone.weights FILE), or train from scratch "
            "(backbone.weights none)"
        ) from error
    return read_weights_file(file, "weights imagenet")


def _read_safetensors(path: str) -> dict[str, Tensor]:
    try:
        return import_module("safetensors.torch").load_file(path)
    except ImportError as error:
        raise UserError(
            f'weights {path}: safetensors is not installed ({error}): pip install "otadet[timm]"'
        ) from error
    except Exception as error:
        raise UserError(f"weights {path}: not a file of safetensors, or damaged: {error}") from error


def put_state(
    network: nn.Module,
    state: dict[str, Tensor],
    what: str,
    whose: str,
    names: str,
    spelt: Callable[[str], str] = lambda name: name,
) -> None:
    """Fill `network`, all of it, from a state dictionary that may hold more, as that of a classifier does.

    Args:
        network: changed in place.
        what: begins the message of the `UserError` where a tensor is missing or of another shape.
        whose: the network, and `names`: those that the state should have, for that message.
        spelt: a name -> what the names of both are compared by.
    """
    given = {spelt(name): tensor for name, tensor in state.items()}
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    # Files of old, and frozen norms, have no counters.
    filled = {
        name: given.get(spelt(name))
        for name in shapes
        if spelt(name) in given or not name.endswith(".num_batches_tracked")
    }
    wrong = [name for name, tensor in filled.items() if tensor is None or tensor.shape != shapes[name]]
    if wrong:
        raise UserError(
            f"{what}: not those of {whose}: {len(wrong)} of {len(filled)} tensors are missing or of another shape, "
            f"{wrong[0]} first; they should be a state dictionary with {names}"
        )
    network.load_state_dict(filled, strict=False)
