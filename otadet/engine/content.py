"""What a checkpoint must hold: checked as a whole before anything in it is used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import Any

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
    """A copy of what a checkpoint holds, its class names clean, `ema`, `class_names` and `exp` there.

    Parts that only a training has may be missing. Raises `ContentError` where a part is not what it should be.
    """
    state = {"ema": None, "class_names": [], "exp": {}, **state}
    _check_weights("model", state["model"])
    if state["ema"] is not None:
        _check_weights("ema", state["ema"])
        shapes = ({name: tensor.shape for name, tensor in state[part].items()} for part in ("model", "ema"))
        _expect(next(shapes) == next(shapes), "ema", "not the averages of its model's tensors")
    state["class_names"] = _class_names(state["class_names"])
    _expect(_is_named(state["exp"]) and _has_no_tensor(state["exp"]), "exp", "not fields and their values")
    checks = {
        "optimizer": _check_optimizer,
        "optimizer_kind": _check_name,
        "scaler": _check_scaler,
        "rng": _check_generators,
        "iteration": _check_count,
        "iterations": _check_count,
        "evaluated_at": _check_count_or_none,
        "best": _check_score,
        "interval": _check_interval,
    }
    for part in checks.keys() & state.keys():
        checks[part](part, state[part])
    return state


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


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and all(_is_name(name) for name in value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable()


def _has_no_tensor(value: object) -> bool:
    if isinstance(value, dict):
        return all(_has_no_tensor(item) for item in value.values())
    return all(map(_has_no_tensor, value)) if isinstance(value, list | tuple) else not isinstance(value, Tensor)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_ITERATIONS


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


def _check_optimizer(part: str, value: object) -> None:
    _expect(isinstance(value, dict) and {"state", "param_groups"} <= value.keys(), part, "no state of an optimizer")
    assert isinstance(value, dict)
    state, groups = value["state"], value["param_groups"]
    _expect(isinstance(groups, list) and all(_is_named(group) for group in groups), part, "without parameter groups")
    numbers = [group.get("params") for group in groups]
    lists = all(isinstance(members, list) and all(type(number) is int for number in members) for members in numbers)
    _expect(lists, part, "without lists of parameters")
    flat = [number for members in numbers for number in members]
    _expect(sorted(flat) == list(range(len(flat))), part, "over parameters that are numbered wrongly")
    _expect(isinstance(state, dict) and state.keys() <= set(flat), part, "of parameters that it does not have")
    for values in state.values():
        _expect(_is_named(values), part, "without named values of its parameters")


def _check_name(part: str, value: object) -> None:
    _expect(_is_name(value) and value != "", part, "no name")


def _check_scaler(part: str, value: object) -> None:
    _expect(isinstance(value, dict), part, "no state of a gradient scaler")
    assert isinstance(value, dict)
    if value:
        known = all(_is_number(value.get(name)) and value[name] >= 0 for name in _SCALER)
        _expect(known and value["scale"] > 0, part, "no state of a gradient scaler")


def _check_generators(part: str, value: object) -> None:
    _expect(isinstance(value, list) and len(value) > 0, part, "not a list with an entry for each process")
    assert isinstance(value, list)
    for states in value:
        _expect(isinstance(states, dict) and "cpu" in states, part, "without the state of the CPU's generator")
        for tensor in states.values():
            byte_row = isinstance(tensor, Tensor) and tensor.dtype == torch.uint8 and tensor.ndim == 1
            _expect(byte_row, part, "not the states of generators")
        try:
            torch.Generator().set_state(states["cpu"])
        except (RuntimeError, TypeError) as error:
            raise ContentError(f"damaged: {part} is no state of a random generator") from error


def _check_count(part: str, value: object) -> None:
    _expect(_is_count(value), part, "no number of iterations")


def _check_count_or_none(part: str, value: object) -> None:
    _expect(value is None or _is_count(value), part, "no number of iterations")


def _check_score(part: str, value: object) -> None:
    _expect(value is None or (_is_number(value) and isfinite(float(value))), part, "no score")  # type: ignore[arg-type]


def _check_interval(part: str, value: object) -> None:
    """The losses since the last row of metrics.csv, of each process: {"count": int, "sums": {name: scalar}}."""
    _expect(isinstance(value, list), part, "not a list with an entry for each process")
    assert isinstance(value, list)
    for sums in value:
        complete = isinstance(sums, dict) and _is_count(sums.get("count")) and _is_named(sums.get("sums"))
        _expect(complete, part, "no sum of losses")
        _expect(_all_scalars(sums["sums"].values()), part, "no sum of losses")
        alike = sums["count"] == value[0]["count"] and sums["sums"].keys() == value[0]["sums"].keys()
        _expect(alike, part, "of other losses in each process")


def _all_scalars(values: Collection[object]) -> bool:
    tensors = [value for value in values if isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 0]
    return len(tensors) == len(values) and all_finite(tensors)
