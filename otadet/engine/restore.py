"""Puts what a checkpoint holds back into the objects of a new process."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn

from otadet.engine.checkpoint import weights_of
from otadet.engine.gradient import all_finite
from otadet.errors import UserError
from otadet.names import clean_name

MAX_SHOWN = 200
"""Characters of a field's value in a message."""
_OWN_KINDS = {"SGD": (), "AdamW": ("step", "exp_avg", "exp_avg_sq")}
"""otadet's own optimizers, and what they must have of a parameter that they have anything of."""


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's generators of this process: of the CPU, and of the GPU it uses."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_rng(path: object, state: Mapping[str, Tensor], device: torch.device) -> None:
    """Undo `rng_state`; a generator that was not saved is left alone. Raises `UserError`, naming `path`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        try:
            torch.cuda.set_rng_state(state["cuda"], device)
        except RuntimeError as error:
            raise UserError(f"{path}: damaged: rng is no state of this GPU's random generator") from error


def restore_model(path: object, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load exactly these weights. Raises `UserError`, naming the checkpoint `path`, where they do not fit."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise UserError(
            f"{path}: does not fit the experiment's model: {first}; resume with the experiment file and overrides that "
            "the run was started with"
        ) from error


def restore_ema(path: object, model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load the averaged weights into `model`, or the plain ones where a run without an average gets one."""
    if state["ema"] is None:
        logger.warning(f"{path}: holds no averaged weights; the average starts from its weights")
    restore_model(path, model, weights_of(state))


def restore_optimizer(path: object, optimizer: torch.optim.Optimizer, kind: str, state: Mapping[str, Any]) -> None:
    """Load momenta and the like; the optimizer keeps its own weight decay and so on.

    kind: class name of the optimizer that was saved. Raises `UserError` where it is another one.
    """
    # The rate that is saved is that of the last update; the next one sets its own.
    own = [{name: group[name] for name in group.keys() - {"params", "lr"}} for group in optimizer.param_groups]
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if kind != type(optimizer).__name__ or sizes != [len(group["params"]) for group in state["param_groups"]]:
        raise UserError(
            f"{path}: saved with {kind}, or over other parameters than this experiment's {type(optimizer).__name__}; "
            "to start a new training from its weights use -c in place of --resume"
        )
    _check_optimizer_state(path, optimizer, kind, state["state"])
    saved = zip(state["param_groups"], own, strict=True)
    groups = [{**options, "lr": group["lr"], "params": list(group["params"])} for group, options in saved]
    optimizer.load_state_dict({"state": deepcopy(state["state"]), "param_groups": groups})


def _check_optimizer_state(
    path: object, optimizer: torch.optim.Optimizer, kind: str, state: Mapping[int, Mapping[str, Any]]
) -> None:
    """Raise `UserError` where what one of `_OWN_KINDS` has of a parameter does not fit it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in state.items() if kind in _OWN_KINDS else ():
        shape = parameters[number].shape
        complete = all(name in values for name in _OWN_KINDS[kind])
        if not complete or not all(_is_statistic(name, value, shape) for name, value in values.items()):
            raise UserError(
                f"{path}: damaged, or of another version of PyTorch: the {kind} state of parameter {number} does not "
                f"fit its shape {tuple(shape)}; to start a new training from its weights use -c in place of --resume"
            )


def _is_statistic(name: str, value: object, shape: torch.Size) -> bool:
    if name == "momentum_buffer" and value is None:
        return True
    if not isinstance(value, Tensor) or not value.is_floating_point() or not all_finite([value]):
        return False
    if name == "step":
        return value.ndim == 0 and value.item() >= 0
    return value.shape == shape and (name != "exp_avg_sq" or value.numel() == 0 or value.min().item() >= 0)


def warn_of_changes(
    state: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any], precision: str, iterations: int
) -> None:
    """Say what makes a resumed training another one than it would have been without the interruption.

    Args:
        state: of the checkpoint.
        before, now: path -> value of the experiment's fields, those of the checkpoint and of this run.
        precision, iterations: of this run.
    """
    if changes := changed_fields(before, now):
        logger.warning(f"resumed with other values than before: {changes}")
    # Checkpoints of earlier versions do not say.
    if state.get("precision") not in (None, precision):
        logger.warning(
            f"resumed in {precision}, after {state['precision']}: the result is not that of an uninterrupted run"
        )
    if state["iteration"] < iterations != state["iterations"]:
        logger.warning(
            f"the run was to have {state['iterations']} iterations and now has {iterations}; "
            "the learning rate follows the schedule of the new length from here on"
        )


def changed_fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`name old -> new` for every field whose value differs, or an empty string."""
    changed = [name for name in now if name in before and _as_tuple(before[name]) != _as_tuple(now[name])]
    return ", ".join(f"{name} {shown_value(before[name])} -> {shown_value(now[name])}" for name in changed)


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def shown_value(value: object) -> str:
    """A value of a file, short and without control characters."""
    text = clean_name(str(value))
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
