"""Values and the types of fields: whether one fits the other, and text -> a value of the type."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np

from otadet.errors import UserError
from otadet.limits import Limits, brief, check_limits

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
PLAIN = (bool, int, float, str, type(None))
"""Types whose values are written as they are."""


def parse_value(name: str, text: str, hint: Any) -> Any:
    """The value that `text` stands for in a field of type `hint`. Raises `UserError` where it is none."""
    try:
        return _parse(text.strip(), hint)
    except ValueError as error:
        raise UserError(_expected(name, brief(text), hint)) from error


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raise `UserError` where a field's value is not of its type or within its limits, not finite, or has a NUL."""
    if not _fits(value, hint):
        raise UserError(_expected(name, f"= {brief(repr(value))}", hint))
    for item in value if isinstance(value, list | tuple) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            raise UserError(f"{name} {brief(value)}: must be finite")
        if isinstance(item, str) and "\0" in item:
            raise UserError(f"{name} = {brief(repr(item))}: a NUL character cannot be part of it")
    for limits in _limits_in(hint):
        check_limits(name, value, limits)


def options_of(hint: Any) -> tuple[Any, ...]:
    """The types of a union, without what annotates them; of any other type itself."""
    if get_origin(hint) is Annotated:
        return options_of(get_args(hint)[0])
    if get_origin(hint) in (types.UnionType, Union):
        return tuple(option for part in get_args(hint) for option in options_of(part))
    return (hint,)


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The values that a field may have where its type lists them, else nothing."""
    options = options_of(hint)
    if not all(get_origin(option) is Literal or option is type(None) for option in options):
        return ()
    return tuple(value for option in options for value in (get_args(option) if option is not type(None) else (None,)))


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


def _limits_in(hint: Any) -> Iterator[Limits]:
    if get_origin(hint) is Annotated:
        yield from (extra for extra in hint.__metadata__ if isinstance(extra, Limits))
    elif get_origin(hint) is not Literal:
        for part in get_args(hint):
            yield from _limits_in(part)


def _fits(value: Any, hint: Any) -> bool:
    """Types that the command line cannot parse are accepted; only certain mismatches are rejected."""
    if len(options := options_of(hint)) > 1:
        return any(_fits(value, option) for option in options)
    (hint,) = options
    if hint is Any:
        return True
    if get_origin(hint) is Literal:
        return value in get_args(hint) and isinstance(value, PLAIN)
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if not isinstance(value, tuple | list) or (items[-1] is not Ellipsis and len(value) != len(items)):
            return False
        return all(_fits(part, items[0 if items[-1] is Ellipsis else place]) for place, part in enumerate(value))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    # A part: a class of one's own may take its place, plain values may not.
    is_class = isinstance(hint, type) and not getattr(hint, "_is_protocol", False)
    is_one = is_class and isinstance(value, hint)
    return is_one or not isinstance(value, (*PLAIN, tuple, list, dict))


def _parse(text: str, hint: Any) -> Any:
    if len(options := options_of(hint)) > 1:
        return _parse_option(text, options)
    (hint,) = options
    if hint is type(None):
        if text.lower() != "none":
            raise ValueError(text)
        return None
    if get_origin(hint) is Literal:
        if not (choices := [choice for choice in get_args(hint) if str(choice) == text]):
            raise ValueError(text)
        return choices[0]
    if get_origin(hint) is tuple:
        return _parse_tuple(text, get_args(hint))
    if hint is bool:
        if text.lower() not in _WORDS:
            raise ValueError(text)
        return _WORDS[text.lower()]
    if hasattr(hint, "from_text"):
        return hint.from_text(text)
    try:
        return hint(text)
    except TypeError as error:
        raise ValueError(text) from error


def _parse_option(text: str, options: tuple[Any, ...]) -> Any:
    """As the first type that takes the text; text itself is what is left, and "none" is nothing."""
    for option in sorted(options, key=lambda option: (option is not type(None), option is str)):
        try:
            return _parse(text, option)
        except ValueError:
            continue
    raise ValueError(text)


def _parse_tuple(text: str, items: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = [part.strip().strip("'\"") for part in text.strip("()[]").split(",") if part.strip()]
    if items[-1] is Ellipsis:
        return tuple(_parse(part, items[0]) for part in parts)
    if len(parts) != len(items):
        raise ValueError(text)
    return tuple(_parse(part, item) for part, item in zip(parts, items, strict=True))


def _expected(name: str, value: str, hint: Any) -> str:
    if choices := choices_of(hint):
        return f"{name} {value}: choose {' or '.join('none' if choice is None else str(choice) for choice in choices)}"
    return f"{name} {value}: expected {_describe(hint)}"


def _describe(hint: Any) -> str:
    if len(options := options_of(hint)) > 1:
        return " or ".join(dict.fromkeys(_describe(option) for option in options))
    (hint,) = options
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if items[-1] is Ellipsis:
            if choices := choices_of(items[0]):
                return f"a list of {' or '.join(map(str, choices))}, such as {','.join(map(str, choices[:2]))}"
            return f"a list of {_describe(items[0]).split(' ', 1)[-1]}s such as a,b"
        return f"{len(items)} values such as a,b"
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if example := getattr(hint, "EXAMPLE", None):
        return str(example)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "none"}
    return words.get(hint) or (f"{hint.__name__}(...)" if isinstance(hint, type) else str(hint))
