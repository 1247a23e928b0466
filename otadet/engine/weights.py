"""The weights of a checkpoint, put into the model that they are of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from otadet.engine.checkpoint import load_checkpoint, weights_of
from otadet.errors import UserError
from otadet.names import name_list


def load_weights(model: nn.Module, path: str | Path, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """`put_weights` of the checkpoint at `path`. Returns what it holds."""
    state = load_checkpoint(path)
    put_weights(model, path, state, class_names)
    return state


def put_weights(
    model: nn.Module, path: str | Path, state: Mapping[str, Any], class_names: Sequence[str] | None = None
) -> None:
    """Put the weights of a checkpoint into `model`, which they must fit: the averaged ones where it has them.

    path, state: the checkpoint and what `load_checkpoint` returned for it. class_names: what the model's classes mean;
    None to take the checkpoint's word. Raises `UserError` when names, their order or any tensor's shape differ.
    """
    if class_names is not None:
        check_class_names(path, state, class_names)
    weights = weights_of(state)
    if different := misfit(model, weights):
        raise UserError(
            f"{path}: does not fit the experiment's model: {different}; use the experiment file and overrides that it "
            "was trained with"
        )
    model.load_state_dict(weights, strict=False)


def check_class_names(path: str | Path, state: Mapping[str, Any], class_names: Sequence[str]) -> None:
    """Raise `UserError` unless the checkpoint was trained for exactly these classes in this order."""
    trained, given = list(state["class_names"]), list(class_names)
    if trained != given:
        raise UserError(
            f"{path}: trained for {len(trained)} classes ({name_list(trained)}), but the data has {len(given)} "
            f"({name_list(given)}); use the data set and class_names that it was trained with"
        )


def without_counters(names: Iterable[str]) -> list[str]:
    """Without BatchNorm's counters of batches, which frozen norms lack and inference ignores."""
    return [name for name in names if not name.endswith(".num_batches_tracked")]


def misfit(model: nn.Module, weights: Mapping[str, Tensor], without: Collection[str] = ()) -> str:
    """What keeps `weights` from filling `model`, with the first few names of each kind; "" where nothing does.

    without: names that do not count.
    """
    own = model.state_dict()
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape and name not in without
    ]
    kinds = {
        "of another shape": shapes,
        "missing": [name for name in without_counters(own) if name not in weights],
        "unknown": [name for name in without_counters(weights) if name not in own],
    }
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
        for kind, names in kinds.items()
        if names
    )
