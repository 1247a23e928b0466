"""Pickles that hold data and nothing else, read by a machine of the few instructions that such pickles need."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any

MAX_DEPTH = 32
MAX_OBJECTS = 1_000_000
MAX_INSTRUCTIONS = 1 << 24
"""Those of a large detector are a few hundred thousand."""
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS_AND_TEXTS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleError(ValueError):
    """Not a pickle of plain data, or a damaged one."""


def read_plain_pickle(file: IO[bytes], names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> Any:
    """What the pickle at a file's position stands for: None, bool, int, float, str, tuple, list and dict (protocol 2).

    Python's own `pickle` calls whatever a file names; here nothing is imported, and nothing is called but what
    `names` has. Keys of a dict are texts or numbers; containers are nested `MAX_DEPTH` deep at most and hold
    `MAX_OBJECTS` objects, an object that is used twice counted twice.

    Args:
        names: "module name" -> what such a global stands for; a callable is called with what the pickle gives it.
        persistent: persistent id -> the object.

    Raises `PickleError` for anything else.
    """
    try:
        value = _Machine(names, persistent).run(file)
    except PickleError:
        raise
    # What instructions do on a stack that they do not expect.
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise PickleError(f"its content is damaged ({type(error).__name__})") from error
    _check_extent(value)
    return value


class _Machine:
    def __init__(self, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        self._names, self._persistent = names, persistent
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        """The stacks beneath the marks."""
        self._memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        for number, (code, argument, _) in enumerate(pickletools.genops(file)):
            if code.name == "STOP":
                break
            if number > MAX_INSTRUCTIONS:
                raise PickleError(f"it has more than {MAX_INSTRUCTIONS:,} instructions")
            self._step(code.name, argument)
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _NUMBERS_AND_TEXTS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._below.append(stack)
            self._stack = []
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name == "TUPLE":
            self._above_mark_as(tuple)
        elif name in _TUPLES:
            items = [stack.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(reversed(items)))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._pop_mark()
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self._pop_mark()
            self._set_items(items)
        elif name == "GLOBAL":
            if argument not in self._names:
                shown = argument[:100].replace(" ", ".")
                raise PickleError(f"it holds {shown!a}, which is neither a tensor nor plain Python")
            stack.append(self._names[argument])
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(stack.pop()(*arguments))
        elif name == "BUILD":
            # Attributes that torch hangs on an ordered dict: the versions of the modules, which nothing here needs.
            stack.pop()
            self._top(dict)
        elif name == "BINPERSID":
            stack.append(self._persistent(stack.pop()))
        elif name != "PROTO":
            raise PickleError(f"it holds the instruction {name}, which plain data does not need")

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _above_mark_as(self, kind: type) -> None:
        items = self._pop_mark()
        self._stack.append(kind(items))

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise PickleError("its content is damaged")
        return self._stack[-1]

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # The hash of a tuple takes time and depth without bounds.
            if not isinstance(key, str | int | float | None):
                raise PickleError(f"a key of a dict is a {type(key).__name__}")
            target[key] = value


def _check_extent(value: Any) -> None:
    """Raise `PickleError` for what a walk through `value` would not come out of: cycles, depth, objects multiplied."""
    left = [(value, 1)]
    seen = 0
    while left:
        item, depth = left.pop()
        seen += 1
        if depth > MAX_DEPTH or seen + len(left) > MAX_OBJECTS:
            raise PickleError(f"it is nested more than {MAX_DEPTH} deep or has more than {MAX_OBJECTS:,} parts")
        if isinstance(item, dict | list | tuple):
            left += [(part, depth + 1) for part in (item.values() if isinstance(item, dict) else item)]
