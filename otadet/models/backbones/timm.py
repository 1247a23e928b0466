"""Any network of timm that has maps of strides 8, 16 and 32. The package is optional, and imported where it is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from otadet.errors import UserError, did_you_mean
from otadet.models.backbones.foreign import STRIDES, ForeignBackbone, Maps, check_maps, made, on_meta, said, said_of
from otadet.models.backbones.normalization import Normalization
from otadet.models.backbones.weights import put_state, read_state

_NAME = re.compile(r"\w+(\.[\w-]+)?", re.ASCII)
_WRAPPED = ("model.", "body.")
"""Where timm puts a whole network that it does not take apart, to listen to the maps inside it."""
_SIZES: tuple[Mapping[str, bool], ...] = ({}, {"strict_img_size": False})
"""Tried in this order; the latter is what timm offers Swin and its kin, which are made for one size of images."""


class TimmBackbone(ForeignBackbone):
    """A network of timm's: images (N, 3, H, W) -> C3, C4, C5."""

    def synchronized(self) -> TimmBackbone:
        """Itself, with batch norms that see the batch of all processes; some of timm's are more than a norm."""
        self.network = timm_package().layers.convert_sync_batchnorm(self.network)
        return self


def timm_package() -> ModuleType:
    """timm. Raises `UserError` where it is not installed."""
    try:
        import_module("timm.layers")
        return import_module("timm")
    except ImportError as error:
        raise UserError(f'timm is not installed ({error}): pip install "otadet[timm]"') from error


def check_timm_name(name: str) -> None:
    """Raise `UserError` for a text that cannot be the name of one of timm's own networks: a place to load one from."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"name {name!r}: must be that of a network of timm, and perhaps a tag of weights, such as resnet18 or "
            "resnet18.a1_in1k"
        )


def build_timm(name: str, weights: str | None, *, frozen_norms: bool) -> TimmBackbone:
    """The network of that name up to its map of stride 32.

    Args:
        name: one of `timm.list_models()`, and perhaps a tag of `timm.list_pretrained()`.
        weights: "imagenet", timm's own for that name, downloaded once; a file with a state dictionary of that
            network, `.pth` or `.safetensors`; or None.
        frozen_norms: as in `ForeignBackbone`.

    Raises `UserError` where timm is missing or has no such network, for one that has not all of the three maps, or not
    for images of any size, and for weights that cannot be used.
    """
    timm, what = timm_package(), f"timm's {name}"
    _check_known(timm, name, weights)
    found = _found(timm, name, what)
    if weights == "imagenet":
        with said_of(f"weights imagenet: those of {what} could not be had; give a local file, or none"):
            network = timm.create_model(name, pretrained=True, **found.options)
    else:
        network = made(partial(timm.create_model, name, **found.options))
    if weights not in ("imagenet", None):
        _put_file(network, weights, name)
    return TimmBackbone(network, found.maps, frozen_norms=frozen_norms)


def timm_normalization(name: str) -> Normalization | None:
    """What the weights that timm has for that name were trained on; None where it has none."""
    known = _known(timm_package(), name)
    with said_of(f"timm's {name}"):
        return None if known is None else Normalization.of_unit(known.mean, known.std)


def _known(timm: ModuleType, name: str) -> Any:
    """What timm knows of the weights of that name, tag included: None where it has none."""
    with said_of(f"timm's {name}"):
        found = timm.get_pretrained_cfg(name, allow_unregistered=False)
    return found if found is not None and found.has_weights else None


def _check_known(timm: ModuleType, name: str, weights: str | None) -> None:
    check_timm_name(name)
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise UserError(f"timm {timm.__version__} has no network {base}{did_you_mean(base, timm.list_models())}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        raise UserError(f"timm's {base} has no weights {tag}; it has {', '.join(tags) or 'none'}")
    if weights == "imagenet" and _known(timm, name) is None:
        raise UserError(f"weights imagenet: timm has none for {name}; give a file, or none to train from scratch")


@dataclass(frozen=True)
class _Found:
    """How to have the maps of a network from timm."""

    options: Mapping[str, Any]
    """For `timm.create_model`."""
    maps: Maps


def _found(timm: ModuleType, name: str, what: str) -> _Found:
    """How the network takes images of any size; see `build_timm` for what it raises."""
    with said_of(f"{what}: timm has no maps of it"):
        network = on_meta(partial(timm.create_model, name, features_only=True))
    indices = _indices(network, what)
    refused: UserError | None = None
    for sizes in _SIZES:
        options: dict[str, Any] = {**sizes, "features_only": True, "out_indices": indices}
        try:
            return _Found(options, check_maps(on_meta(partial(timm.create_model, name, **options)), what))
        except UserError as error:
            refused = refused or error
        except Exception as error:
            # Those that do not know an option raise what they like.
            refused = refused or UserError(f"{what}: timm has no maps of it: {said(error)}")
    assert refused is not None
    raise refused


def _indices(network: Any, what: str) -> tuple[int, ...]:
    """Which of the maps that timm knows of are the last ones of `STRIDES`. Raises `UserError` where one is missing."""
    strides = [one["reduction"] for one in network.feature_info.info]
    if missing := [stride for stride in STRIDES if stride not in strides]:
        raise UserError(
            f"{what}: has no map of stride {' or '.join(map(str, missing))}, as a detector needs, but of "
            f"{', '.join(map(str, sorted(set(strides))))}"
        )
    return tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)


def _put_file(network: nn.Module, path: str, name: str) -> None:
    """Fill it from a file of the whole network: timm calls the modules that it takes apart by other names."""
    inside = [prefix for prefix in _WRAPPED if all(key.startswith(prefix) for key in network.state_dict())]

    def spelt(key: str) -> str:
        return key.removeprefix(inside[0] if inside else "").replace(".", "_")

    put_state(network, read_state(path), f"weights {path}", f"a {name}", "timm's names", spelt)
