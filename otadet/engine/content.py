"""What a checkpoint must hold: checked as a whole before anything in it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor

from otadet.engine.gradient import all_finite
from otadet.errors import UserError
from otadet.names import clean_class_names

MAX_ITERATIONS = 10**12
MAX_NAME = 1000
"""Characters of the name of a tensor or a field."""
OF_A_TRAINING = ("optimizer", "optimizer_kind", "scaler", "rng", "iteration", "iterations", "evaluated_at", "best")
"""What a resumed training needs beside what a detector needs."""
_SCALER = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")


class ContentError(ValueError):
    """A checkpoint does not hold what it should; the message says which part, and what it is."""


def checked_content(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of what a checkpoint holds, its class names clean, all that is not a training's there.

    Parts that only a training has may be missing. Raises `ContentError` where a part is not what it should be.
    """
    state = {"ema": None, "class_names": [], "exp": {}, "parts": {}, "experiment": {}, **state}
    _check_weights("model", state["model"])
    if state["ema"] is not None:
        _check_weights("ema", state["ema"])
        shapes = ({name: tensor.shape for name, tensor in state[part].items()} for part in ("model", "ema"))
        _expect(next(shapes) == next(shapes), "ema", "not the averages of its model's tensors")
    state["class_names"] = _class_names(state["class_names"])
    for part in ("exp", "parts", "experiment"):
        _expect(_is_named(state[part]) and not _has_tensor(state[part]), part, "not fields and their values")
    for part, (is_right, problem) in _PARTS_OF_A_TRAINING.items():
        _expect(part not in state or is_right(state[part]), part, problem)
    return state


def is_of_training(state: Mapping[str, Any]) -> bool:
    """Whether a training wrote the checkpoint; else its weights were converted."""
    return "iteration" in state


def check_resumable(state: Mapping[str, Any]) -> None:
    """Raise `ContentError` unless what `checked_content` returned is all that a training goes on from."""
    missing = [part for part in OF_A_TRAINING if part not in state]
    if missing:
        raise ContentError(f"holds weights only ({', '.join(missing)} missing); start a training from them with -c")
    evaluated_at = state["evaluated_at"]
    _expect(evaluated_at is None or evaluated_at <= state["iteration"], "evaluated_at", "beyond its last iteration")
    sizes = {len(state["rng"]), len(state.get("interval", state["rng"]))}
    _expect(len(sizes) == 1, "interval", "of another number of processes")
    bad = [
        f"{name} of parameter {number}"
        for number, values in state["optimizer"]["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor) and not all_finite([value])
    ]
    if bad:
        raise ContentError(
            f"the optimizer's {bad[0]} is not finite (a gradient was too large): those weights would never move again; "
            "resume from an earlier checkpoint, or start a training from the weights with -c"
        )


def _expect(condition: bool, part: str, problem: str) -> None:
    if not condition:
        raise ContentError(f"damaged: {part} is {problem}")


def _check_weights(part: str, value: object) -> None:
    _expect(_is_named(value), part, "not a dict of named tensors")
    assert isinstance(value, dict)
    for name, tensor in value.items():
        _expect(isinstance(tensor, Tensor), part, f"made of more than tensors: {name!a}")
        _expect(all_finite([tensor]), part, f"not finite: {name!a} holds infinity or NaN")


def _class_names(value: object) -> list[str]:
    if value == []:
        return []
    try:
        return list(clean_class_names(value, "class_names"))
    except UserError as error:
        raise ContentError(f"damaged: {error}") from error


def _has_tensor(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_tensor, value.values()))
    return any(map(_has_tensor, value)) if isinstance(value, list | tuple) else isinstance(value, Tensor)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


def _is_named(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(map(_is_name, value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_ITERATIONS


def _is_none_or(is_right: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or is_right(value)


def _is_optimizer(value: object) -> bool:
    """{"state": {number of a parameter: its values}, "param_groups": [{"params": [number, ...], ...}, ...]}."""
    if not _is_named(value) or not {"state", "param_groups"} <= value.keys():
        return False
    state, groups = value["state"], value["param_groups"]
    if not isinstance(groups, list) or not all(_is_named(group) and _is_rate(group.get("lr")) for group in groups):
        return False
    lists = [group.get("params") for group in groups]
    if not all(isinstance(members, list) for members in lists):
        return False
    numbers = [number for members in lists for number in members]
    if any(type(number) is not int for number in numbers) or sorted(numbers) != list(range(len(numbers))):
        return False
    return isinstance(state, dict) and state.keys() <= set(numbers) and all(map(_is_named, state.values()))


def _is_rate(value: object) -> bool:
    """A learning rate; optimizers take it as a tensor too."""
    return _is_scalar(value) or _is_number(value)


def _is_scalar(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 0


def _is_scaler(value: object) -> bool:
    """State of a gradient scaler; that of one that is not in use is empty."""
    if not isinstance(value, dict):
        return False
    return not value or (
        all(_is_number(value.get(name)) and value[name] >= 0 for name in _SCALER) and value["scale"] > 0
    )


def _are_generators(value: object) -> bool:
    """Of each process {"cpu": state, "cuda": state}; that of the GPU is known to fit only when it is restored."""
    if not isinstance(value, list) or not value:
        return False
    for states in value:
        if not isinstance(states, dict) or "cpu" not in states or not all(map(_is_row_of_bytes, states.values())):
            return False
        try:
            torch.Generator().set_state(states["cpu"])
        except (RuntimeError, TypeError):
            return False
    return True


def _is_row_of_bytes(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8 and value.ndim == 1


def _are_sums(value: object) -> bool:
    """The losses since the last row of metrics.csv, of each process: {"count": int, "sums": {name: scalar}}."""
    if not isinstance(value, list) or not all(map(_is_sum, value)):
        return False
    return all(one["count"] == value[0]["count"] and one["sums"].keys() == value[0]["sums"].keys() for one in value)


def _is_sum(value: object) -> bool:
    if not isinstance(value, dict) or not _is_count(value.get("count")) or not _is_named(value.get("sums")):
        return False
    sums = list(value["sums"].values())
    return all(map(_is_scalar, sums)) and all_finite(sums)


def _is_patience(value: object) -> bool:
    """The best score, and how many evaluations there were since: {"best": score or None, "waited": int}."""
    if not isinstance(value, dict) or value.keys() != {"best", "waited"} or not _is_count(value["waited"]):
        return False
    return _is_number(value["best"]) or (value["best"] is None and not value["waited"])


_PARTS_OF_A_TRAINING: dict[str, tuple[Callable[[object], bool], str]] = {
    "optimizer": (_is_optimizer, "no state of an optimizer"),
    "optimizer_kind": (_is_name, "no name of an optimizer"),
    "scaler": (_is_scaler, "no state of a gradient scaler"),
    "rng": (_are_generators, "no states of random generators"),
    "iteration": (_is_count, "no number of iterations"),
    "iterations": (_is_count, "no number of iterations"),
    "evaluated_at": (_is_none_or(_is_count), "no number of iterations"),
    "best": (_is_none_or(_is_number), "no score"),
    "latest": (_is_none_or(_is_number), "no value of a column"),
    "patience": (_is_patience, "no best score and number of evaluations since"),
    "interval": (_are_sums, "no sums of losses, the same ones in each process"),
    "precision": (_is_name, "no name of a number format"),
}
