"""The texts of a file's metadata -> values that are safe to use. Whoever made the file may have written anything."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, get_args

from otadet.data.transforms import Letterbox, ResizeShortestEdge
from otadet.errors import UserError
from otadet.inference.input_spec import MAX_AREA, MAX_SIDE, InputSpec
from otadet.inference.postprocess import Classes, RankBy, ScoreKind
from otadet.names import clean_class_names, printable

MAX_DIVISOR = 1024
"""What the sides of an input may have to be multiples of, in pixels."""
MAX_TEXT = 10_000
"""Characters of an entry."""
MAX_NAMES_TEXT = 2**24
"""Characters of the entry of class names."""
MAX_CLASSES = 100_000
MAX_LEVELS = 16
MAX_PER_LOCATION = 1_000
"""Anchors that share a point."""

Check = Callable[[Any], Any]
"""A value of JSON -> the value as it is used. Raises `ValueError` with what would be right."""


def read_texts(texts: Mapping[str, str], names: Mapping[str, bool], path: str | Path) -> dict[str, Any]:
    """Every entry of `names` that is there, checked by itself and then together.

    names: entry -> whether it has to be there. Raises `UserError` naming `path`, the entry and what would be right.
    """
    if "input_spec" not in texts:
        names = {name: is_needed for name, is_needed in names.items() if name != "input_spec"} | OLDER_INPUT
    missing = [name for name, is_needed in names.items() if is_needed and name not in texts]
    if missing:
        raise UserError(
            f"{path}: its metadata lacks {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}; "
            "this needs a file written by tools/export_onnx.py"
        )
    values = {name: _read(name, texts[name], path) for name in names if name in texts}
    for name, is_wrong, expected in _CONTRADICTIONS:
        if is_wrong(values):
            _refuse(path, name, texts[name], expected.format(**values))
    if "input_spec" not in values:
        values["input_spec"] = _older_input({name: values.pop(name) for name in OLDER_INPUT if name in values}, path)
    return values


def _older_input(values: Mapping[str, Any], path: str | Path) -> InputSpec:
    """That of a file with an entry for each of its numbers."""
    values = dict(values)
    letterbox, shortest_edge = values.pop("letterbox"), values.pop("shortest_edge")
    resize = Letterbox(letterbox) if shortest_edge is None else ResizeShortestEdge(shortest_edge[:1], shortest_edge[1])
    pad_value = values.pop("pad_value")
    try:
        spec = InputSpec(resize, **values)
        return spec if spec.pad_value == pad_value else replace(spec, padding=pad_value)
    except UserError as error:
        raise UserError(f"{path}: its metadata is wrong: {error}; export it anew with otadet export") from error


def _read(name: str, text: object, path: str | Path) -> Any:
    limit = MAX_NAMES_TEXT if name == "class_names" else MAX_TEXT
    if not isinstance(text, str) or len(text) > limit:
        _refuse(path, name, text, f"a text of at most {limit:,} characters")
    if name in TEXTS:
        return printable(text)
    if name in ("rank_by", "score", "classes"):
        value: Any = text
    else:
        try:
            value = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            _refuse(path, name, text, "JSON")
    if name == "class_names":
        names = clean_class_names(value, path)
        if len(names) > MAX_CLASSES:
            _refuse(path, name, text, f"at most {MAX_CLASSES:,} names")
        return names
    if name == "input_spec":
        return _input_spec(value, path)
    try:
        return CHECKS[name](value)
    except ValueError as error:
        _refuse(path, name, text, str(error), error)


def _input_spec(value: Any, path: str | Path) -> InputSpec:
    try:
        return InputSpec.from_dict(value)
    except UserError as error:
        raise UserError(
            f"{path}: its metadata says of input_spec: {printable(str(error))[:300]}; export it anew with otadet export"
        ) from error


def _refuse(path: str | Path, name: str, text: object, expected: str, cause: Exception | None = None) -> NoReturn:
    shown = ascii(text[:60] if isinstance(text, str) else text)
    if isinstance(text, str) and len(text) > 60:
        shown += f"... ({len(text):,} characters)"
    raise UserError(
        f"{path}: its metadata says {name} {shown}, where {expected} is expected; export it anew with otadet export"
    ) from cause


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _is_true_or_false(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"an integer from {low:,} to {high:,}")
        return value

    return check


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        # A huge integer compares, but is no float.
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or not math.isfinite(value):
            raise ValueError(f"a number from {low:,g} to {high:,g}")
        return value

    return check


def _list_of(check: Check, least: int, most: int | None = None) -> Check:
    most = least if most is None else most
    count = str(least) if least == most else f"{least} to {most}"

    def check_all(values: Any) -> tuple:
        try:
            if isinstance(values, list) and least <= len(values) <= most:
                return tuple(check(value) for value in values)
        except ValueError as error:
            raise ValueError(f"a list of {count}, each {error},") from error
        raise ValueError(f"a list of {count} values")

    return check_all


def _or_null(check: Check) -> Check:
    def check_unless_null(value: Any) -> Any:
        if value is None:
            return None
        try:
            return check(value)
        except ValueError as error:
            raise ValueError(f"{error} or null") from error

    return check_unless_null


def _one_of(*known: str) -> Check:
    def check(value: Any) -> str:
        if value not in known:
            raise ValueError(" or ".join(known))
        return value

    return check


OLDER_INPUT = dict.fromkeys(("mean", "std", "pad_value", "letterbox", "shortest_edge"), True) | {"image_bits": False}
"""Entries of files that have no `input_spec`, and whether they have to be there."""
TEXTS = ("experiment", "otadet", "input")
"""Entries that are only shown."""

_SIZE = _list_of(_integer(1, MAX_SIDE), 2)
_COUNT = _integer(1, 10**9)

CHECKS: dict[str, Check] = {
    "size": _SIZE,
    "dynamic_batch": _is_true_or_false,
    "dynamic_size": _is_true_or_false,
    "nms": _is_true_or_false,
    "opset": _integer(1, 1000),
    "mean": _list_of(_number(-1e6, 1e6), 3),
    "std": _list_of(_number(1e-6, 1e6), 3),
    "pad_value": _list_of(_integer(0, 255), 3),
    "size_divisor": _integer(1, MAX_DIVISOR),
    "letterbox": _or_null(_SIZE),
    "shortest_edge": _or_null(_SIZE),
    "strides": _list_of(_integer(1, MAX_SIDE), 1, MAX_LEVELS),
    "score_threshold": _number(0, 1),
    "topk_per_level": _COUNT,
    "nms_iou": _number(0, 1),
    "max_detections": _COUNT,
    "rank_by": _one_of(*get_args(RankBy)),
    "score": _one_of(*get_args(ScoreKind)),
    "classes": _one_of(*get_args(Classes)),
    "clip": _is_true_or_false,
    "from_training": _is_true_or_false,
    "anchors_per_location": _integer(1, MAX_PER_LOCATION),
    "image_bits": _integer(8, 16),
}
"""Every entry but the texts and the class names."""


def _is_too_large(size: tuple[int, int] | None) -> bool:
    return size is not None and math.prod(size) > MAX_AREA


_AREA = f"at most {MAX_AREA:,} pixels"
_CONTRADICTIONS: list[tuple[str, Callable[[dict[str, Any]], bool], str]] = [
    ("size", lambda values: _is_too_large(values["size"]), _AREA),
    (
        "size",
        lambda values: any(side % values["size_divisor"] for side in values["size"]),
        "multiples of {size_divisor}",
    ),
    ("letterbox", lambda values: _is_too_large(values.get("letterbox")), _AREA),
    ("shortest_edge", lambda values: _is_too_large(values.get("shortest_edge")), _AREA),
    (
        "letterbox",
        lambda values: "letterbox" in values and (values["letterbox"] is None) == (values["shortest_edge"] is None),
        "one of letterbox and shortest_edge, and null for the other,",
    ),
]
"""Entry, whether the values as a whole are wrong in it, and what would be right, with other entries in braces."""
