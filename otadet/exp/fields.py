"""Fields of an experiment: which there are, and text from the command line -> a value of the field's type."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from otadet.errors import UserError
from otadet.limits import brief

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def fields_of(experiment: object) -> dict[str, Any]:
    """Name -> type of every annotated public attribute of the experiment's class, base class first.

    Raises `UserError` for a type that cannot be found when the program runs.
    """
    try:
        hints = get_type_hints(type(experiment))
    except Exception as error:
        raise UserError(
            f"the type of a field cannot be found: {type(error).__name__}: {error}; import it without TYPE_CHECKING"
        ) from error
    return {name: hint for name, hint in hints.items() if not name.startswith("_")}


def undeclared_attributes(experiment: object) -> list[str]:
    """Public plain attributes that no class declares with a type: most likely misspelt fields."""
    declared = fields_of(experiment)
    names = set(vars(experiment))
    for cls in type(experiment).__mro__[:-1]:
        names |= {
            name
            for name, value in vars(cls).items()
            if not (callable(value) or isinstance(value, property | staticmethod | classmethod))
        }
    return sorted(name for name in names if not name.startswith("_") and name not in declared)


def parse_field(name: str, text: str, hint: Any) -> Any:
    """The value that `text` stands for in a field of type `hint`. Raises `UserError` where it is none."""
    try:
        return _parse(text.strip(), hint)
    except ValueError as error:
        raise UserError(f"{name} {brief(text)}: expected {_describe(hint)}") from error


def without_numpy(value: Any) -> Any:
    """`value` with Python's numbers and tuples in place of numpy's numbers and arrays."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
        return tuple(value) if isinstance(value, list) else value
    if type(value) in (list, tuple):
        return type(value)(without_numpy(item) for item in value)
    return value


def as_plain(value: Any) -> Any:
    """What a checkpoint can hold of a value: plain Python as it is, a path as its text, anything else as its `repr`."""
    value = without_numpy(value)
    if type(value) in (bool, int, float, str, type(None)):
        return value
    if isinstance(value, list | tuple):
        items = [as_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, Mapping):
        return {str(as_plain(key)): as_plain(item) for key, item in value.items()}
    if isinstance(value, PurePath):
        return str(value)
    for kind in (bool, int, float, str):  # an enumeration of numbers, say
        if isinstance(value, kind):
            return kind(value)
    # Without the address, which another process would have another of.
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raise `UserError` where the value of a field is not of the field's type, not finite, or a text with a NUL."""
    if not _fits(value, hint):
        raise UserError(f"{name} = {brief(repr(value))}: expected {_describe(hint)}")
    for item in value if isinstance(value, list | tuple) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            raise UserError(f"{name} {brief(value)}: must be finite")
        if isinstance(item, str) and "\0" in item:
            raise UserError(f"{name} = {brief(repr(item))}: a NUL character cannot be part of it")


def _fits(value: Any, hint: Any) -> bool:
    """True also for types that the command line could not parse: only what is surely wrong is to be refused."""
    if hint is Any:
        return True
    if get_origin(hint) in (types.UnionType, Union):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if not isinstance(value, tuple | list) or (items[-1] is not Ellipsis and len(value) != len(items)):
            return False
        return all(_fits(part, items[0 if items[-1] is Ellipsis else place]) for place, part in enumerate(value))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return hint not in (bool, str, type(None)) or isinstance(value, hint)


def _parse(text: str, hint: Any) -> Any:
    if get_origin(hint) in (types.UnionType, Union):
        options = get_args(hint)
        if type(None) in options and text.lower() == "none":
            return None
        return _parse(text, next(option for option in options if option is not type(None)))
    if get_origin(hint) is tuple:
        return _parse_tuple(text, get_args(hint))
    if hint is bool:
        if text.lower() not in _WORDS:
            raise ValueError(text)
        return _WORDS[text.lower()]
    return hint(text)


def _parse_tuple(text: str, items: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = [part.strip().strip("'\"") for part in text.strip("()[]").split(",") if part.strip()]
    if items[-1] is Ellipsis:
        return tuple(_parse(part, items[0]) for part in parts)
    if len(parts) != len(items):
        raise ValueError(text)
    return tuple(_parse(part, item) for part, item in zip(parts, items, strict=True))


def _describe(hint: Any) -> str:
    if get_origin(hint) in (types.UnionType, Union):
        return " or ".join("none" if option is type(None) else _describe(option) for option in get_args(hint))
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if items[-1] is Ellipsis:
            return f"a list of {_describe(items[0]).split(' ', 1)[1]}s such as a,b"
        return f"{len(items)} values such as a,b"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(hint, str(hint))
