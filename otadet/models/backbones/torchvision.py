"""Any classifier of torchvision that has maps of strides 8, 16 and 32, found by the shapes that go through it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.fx import Graph, GraphModule
from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models
from torchvision.models.feature_extraction import create_feature_extractor

from otadet.errors import UserError, did_you_mean
from otadet.models.backbones.foreign import (
    SIZES,
    STRIDES,
    ForeignBackbone,
    check_maps,
    layout_of,
    made,
    on_meta,
    tried,
)
from otadet.models.backbones.normalization import Normalization
from otadet.models.backbones.weights import fetch_state, put_state, read_state

_BEFORE = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""In torchvision's own files of DenseNets, names that it has changed since."""
_UNIT = Normalization((127.5,) * 3, (127.5,) * 3)


@cache
def classifiers() -> tuple[str, ...]:
    """Names of torchvision's classifiers."""
    return tuple(list_models(module=torchvision.models))


def check_torchvision_name(name: str) -> None:
    """Raise `UserError` where torchvision has no classifier of that name."""
    if name not in classifiers():
        raise UserError(f"name {name!r}: torchvision has no such classifier{did_you_mean(name, classifiers())}")


def build_torchvision(name: str, weights: str | None, *, frozen_norms: bool) -> ForeignBackbone:
    """The classifier of that name up to its map of stride 32.

    Args:
        name: one of `classifiers()`.
        weights: "imagenet", those that torchvision has of it, downloaded once; a file with such a state dictionary; or
            None.
        frozen_norms: as in `ForeignBackbone`.

    Raises `UserError` for a classifier that has not all of the three maps, or not for images of any size, and for
    weights that cannot be used.
    """
    check_torchvision_name(name)
    what = f"torchvision's {name}"
    probe = on_meta(lambda: _classifier(name))
    graph = _graph(probe, _nodes(probe, what))
    maps = check_maps(GraphModule(probe, graph), what)
    network = GraphModule(made(lambda: _classifier(name)), graph)
    if weights is not None:
        state = _download(name) if weights == "imagenet" else read_state(weights)
        state = {renamed(key): tensor for key, tensor in state.items()}
        put_state(network, state, f"weights {weights}", f"a {name}", "torchvision's names")
    return ForeignBackbone(network, maps, frozen_norms=frozen_norms)


def imagenet(name: str) -> WeightsEnum:
    """The weights that "imagenet" stands for: the first ones that torchvision had, or its only ones."""
    known = get_model_weights(name)
    return getattr(known, "IMAGENET1K_V1", known.DEFAULT)


def torchvision_normalization(name: str) -> Normalization:
    """What the weights that "imagenet" stands for were trained on."""
    if name == "googlenet":
        # With weights, torchvision's own makes this of what these say by itself; here it gets it.
        return _UNIT
    transform: Any = imagenet(name).transforms()
    return Normalization.of_unit(transform.mean, transform.std)


def renamed(name: str) -> str:
    """What torchvision now calls a tensor of one of its files of DenseNets; any other name stays."""
    return _BEFORE.sub(r"\1\2", name)


def _download(name: str) -> dict[str, Tensor]:
    return fetch_state(imagenet(name).url)


def _classifier(name: str) -> nn.Module:
    # They warn that they will initialise themselves in another way some day.
    own = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return get_model(name, weights=None, **own)


def _graph(network: nn.Module, nodes: Sequence[str]) -> Graph:
    """What leads from images to the outputs of these modules, which it returns as a dict in their order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = create_feature_extractor(network, {node: node for node in nodes})
    # The other one, for training, differs in auxiliary classifiers alone, behind the maps: what drops out by chance are
    # modules. A network of both would forget when it is copied which of them is its own.
    return both.eval_graph


def _nodes(network: nn.Module, what: str) -> list[str]:
    """The modules that return the maps of `STRIDES`.

    Of all whose output has that stride, it is among the outermost ones the last, as a stage is rather than what is
    inside of its blocks. network: on the device "meta". Raises `UserError` where there is none, or no run at all.
    """
    one, two = (_outputs(network, size, what) for size in SIZES)
    found: dict[int, str] = {}
    for name in one:
        for stride in STRIDES:
            if name in two and layout_of((one[name], two[name]), stride) is not None:
                outermost = found.get(stride, name)
                found[stride] = name if name.count(".") <= outermost.count(".") else outermost
    if missing := [stride for stride in STRIDES if stride not in found]:
        raise UserError(
            f"{what}: has no map of stride {' or '.join(map(str, missing))}, a cell for every so many pixels exactly, "
            "as a detector needs"
        )
    return [found[stride] for stride in STRIDES]


def _outputs(network: nn.Module, size: tuple[int, int], what: str) -> dict[str, torch.Size]:
    """Name -> shape of what each module returns for an image of that size, where it is one tensor, in their order."""
    seen: dict[str, torch.Size] = {}

    def remember(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            seen[name] = output.shape

    handles = [
        module.register_forward_hook(partial(remember, name)) for name, module in network.named_modules() if name
    ]
    try:
        tried(network, size, what)
    finally:
        for handle in handles:
            handle.remove()
    return seen
