"""Checkpoints: files of tensors and plain Python, which therefore load without running anybody's code."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn

from otadet.errors import UserError, nearest_name
from otadet.files import atomic_write

FORMAT = 1


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write `state`, with the format's number and otadet's version added, whole or not at all.

    Raises `TypeError` for a value that `weights_only` loading would refuse later.
    """
    from otadet import __version__

    state = {"format": FORMAT, "otadet": __version__, **state}
    _check_plain(state, "state")
    with atomic_write(path) as file:
        torch.save(state, file)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """The dict that `save_checkpoint` wrote, its tensors on the CPU.

    Raises `UserError` for a file that is missing, cut short, of another program or of a newer otadet.
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(file.name for file in path.glob("*.pth"))
        raise UserError(f"{path}: is a folder; name a checkpoint in it ({', '.join(inside) or 'it has none'})")
    if not path.is_file():
        siblings = [str(file) for file in path.parent.glob("*.pth")] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such checkpoint{nearest_name(str(path), siblings)}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: {_what_is_wrong(path)}") from error
    if not isinstance(state, dict) or "format" not in state or "model" not in state:
        raise UserError(
            f"{path}: not a checkpoint of otadet, but of another program; weights for a backbone go "
            f"into the experiment's field weights"
        )
    if state["format"] > FORMAT:
        raise UserError(f"{path}: written by a newer otadet ({state['otadet']}); update otadet to read it")
    return state


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run in `folder` goes on from, if it has one."""
    path = folder / "last.pth"
    return path if path.exists() else None


def load_weights(
    model: nn.Module, path: str | Path, class_names: Sequence[str] | None = None, *, strict: bool = True
) -> dict[str, Any]:
    """`put_weights` of the checkpoint at `path`. Returns what it holds."""
    state = load_checkpoint(path)
    put_weights(model, path, state, class_names, strict=strict)
    return state


def put_weights(
    model: nn.Module,
    path: str | Path,
    state: dict[str, Any],
    class_names: Sequence[str] | None = None,
    *,
    strict: bool = True,
) -> None:
    """Put the weights of a checkpoint into `model`: the averaged ones where it has them.

    path, state: the checkpoint and what `load_checkpoint` returned for it. class_names: what the model's classes mean;
    None to take the checkpoint's word. strict: raises `UserError` when names, their order or any tensor's shape differ;
    otherwise (fine-tuning) tensors that do not fit keep the values they have, and are logged.
    """
    if strict and class_names is not None:
        check_class_names(path, state, class_names)
    weights = state["ema"] or state["model"]
    fitting = _fitting(model, weights)
    if set(_without_counters([*weights, *model.state_dict()])) - fitting.keys():
        if strict:
            raise UserError(
                f"{path}: does not fit the experiment's model: {_misfit(model, weights)}; use the "
                f"experiment file and overrides that it was trained with"
            )
        if not fitting:
            raise UserError(f"{path}: no tensor of it fits the experiment's model: {_misfit(model, weights)}")
        logger.warning(
            f"{path}: {len(fitting)} of the model's {len(model.state_dict())} tensors taken over; "
            f"{_misfit(model, weights)}"
        )
    model.load_state_dict(fitting, strict=False)


def check_class_names(path: str | Path, state: dict[str, Any], class_names: Sequence[str]) -> None:
    """Raise `UserError` unless the checkpoint was trained for exactly these classes in this order."""
    trained, given = list(state["class_names"]), list(class_names)
    if trained != given:
        raise UserError(
            f"{path}: trained for {len(trained)} classes ({', '.join(trained)}), but the data has {len(given)} "
            f"({', '.join(given)}); use the data set and class_names that it was trained with"
        )


def _fitting(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    own = model.state_dict()
    return {name: tensor for name, tensor in weights.items() if name in own and tensor.shape == own[name].shape}


def _without_counters(names: Iterable[str]) -> list[str]:
    """Without BatchNorm's counters of batches, which frozen norms lack and inference ignores."""
    return [name for name in names if not name.endswith(".num_batches_tracked")]


def _misfit(model: nn.Module, weights: dict[str, Tensor]) -> str:
    """What keeps `weights` from filling `model`, with the first few names of each kind."""
    own = model.state_dict()
    shapes = [
        f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    kinds = {
        "of another shape": shapes,
        "missing": [name for name in _without_counters(own) if name not in weights],
        "unknown": [name for name in _without_counters(weights) if name not in own],
    }
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
        for kind, names in kinds.items()
        if names
    )


def _what_is_wrong(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(4)
    if not start or start == b"PK\x03\x04":
        return "cut short or damaged (the copy or download did not finish?); use another checkpoint of the run"
    return "not a checkpoint of otadet"


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(key, where)
            _check_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for item in value:
            _check_plain(item, where)
    elif not isinstance(value, Tensor) and type(value) not in (str, int, float, bool, type(None)):
        raise TypeError(f"{where}: a checkpoint holds tensors and plain Python, not {type(value).__name__}")
