"""Pickles of numpy arrays and plain Python, read without pickle: nothing that they name is imported or called.

The instructions are followed here, on values alone. What stands for a call is understood where it makes an array, its
number format, an ordered dict or the bytes that Python 2 wrote, and is refused anywhere else. No array is made that the
file has no numbers for, so memory is bounded by its size.
"""

from __future__ import annotations

import math
import mmap
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

MAX_INSTRUCTIONS = 1 << 20
"""Those of a large detector are ten thousand."""
MAX_DEPTH = 32
_FORMATS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")
_ARRAY = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_SCALAR = ("numpy.core.multiarray scalar", "numpy._core.multiarray scalar")
_BUFFER = ("numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer")
"""What makes an array since protocol 5."""
_EMPTY: dict[str, type] = {"collections OrderedDict": dict, "__builtin__ bytes": bytes}
_KNOWN = {*_ARRAY, *_BUFFER, *_SCALAR, "numpy ndarray", "numpy dtype", "_codecs encode", *_EMPTY}


class ArrayPickleError(Exception):
    """Not a pickle of numpy arrays and plain Python, or a damaged one."""


def is_pickle(path: str | Path) -> bool:
    """Whether a file begins as a pickle does that is no file of PyTorch: those begin with a pickled number."""
    with open(path, "rb") as file:
        begin = file.read(3)
    return len(begin) == 3 and begin[0] == 0x80 and 2 <= begin[1] <= 5 and begin[2] != 0x8A


def read_array_pickle(path: str | Path) -> Any:
    """The object in the file: dicts, lists, tuples, texts and numbers, and a tensor for each array.

    Raises `ArrayPickleError` for anything else in it, and `OSError` for a file that cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            # Of a file Python would take the memory that a text states before it reads it.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise ArrayPickleError("it is empty") from error
        with content:
            return _Machine(len(content)).run(content)


@dataclass(frozen=True)
class _Global:
    """A name of the file. It is compared, and never looked up."""

    name: str


@dataclass
class _Format:
    """A `numpy.dtype`."""

    code: str
    order: str = "="

    def dtype(self) -> np.dtype:
        if self.code not in _FORMATS or self.order not in ("=", "<", ">", "|"):
            raise ArrayPickleError(f"it holds numbers of the format {self.code[:20]!a}")
        return np.dtype(f"{self.order}{self.code}")


@dataclass
class _Array:
    """A `numpy.ndarray`, before and after its numbers are known."""

    tensor: Tensor | None = None


class _Mark:
    pass


class _Machine:
    """Follows the instructions. size: of the file, in bytes."""

    def __init__(self, size: int) -> None:
        # Protocol 2 has the numbers of an array as a text first.
        self._left = 2 * size
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, content: mmap.mmap) -> Any:
        try:
            for number, (code, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], content))):
                if number > MAX_INSTRUCTIONS:
                    raise ArrayPickleError(f"it has more than {MAX_INSTRUCTIONS:,} instructions")
                if code.name == "STOP":
                    (value,) = self._stack
                    return _plain(value)
                self._follow(code.name, argument)
        # What pickletools, an empty stack and a memory that is not filled say to damaged files.
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ArrayPickleError(f"it is damaged ({type(error).__name__})") from error
        raise ArrayPickleError("it is cut short")

    def _follow(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(_VALUES[name](argument))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name == "GLOBAL":
            self._stack.append(_global(argument))
        elif name == "STACK_GLOBAL":
            module, attribute = self._take(2)
            self._stack.append(_global(f"{module} {attribute}"))
        elif name == "REDUCE":
            function, arguments = self._take(2)
            self._stack.append(self._call(function, arguments))
        elif name == "BUILD":
            (state,) = self._take(1)
            self._build(self._stack[-1], state)
        elif name in _TUPLES:
            self._stack.append(tuple(self._take(_TUPLES[name])))
        elif name in _CONTAINERS:
            self._contain(name)
        elif name not in ("PROTO", "FRAME"):
            raise ArrayPickleError(f"it holds the instruction {name}, which arrays do not need")

    def _contain(self, name: str) -> None:
        several = self._take(1 if name == "APPEND" else 2) if name in ("APPEND", "SETITEM") else self._to_mark()
        if name == "TUPLE":
            self._stack.append(tuple(several))
        elif name in ("APPEND", "APPENDS"):
            list.extend(self._stack[-1], several)
        else:
            for key, value in zip(several[::2], several[1::2], strict=True):
                if type(key) not in (str, int, bytes):
                    raise ArrayPickleError("a key of a dictionary in it is no text")
                dict.__setitem__(self._stack[-1], key, value)

    def _take(self, number: int) -> list[Any]:
        if number > len(self._stack):
            raise IndexError
        taken = self._stack[len(self._stack) - number :]
        del self._stack[len(self._stack) - number :]
        if any(type(value) is _Mark for value in taken):
            raise ValueError
        return taken

    def _to_mark(self) -> list[Any]:
        place = len(self._stack) - 1
        while type(self._stack[place]) is not _Mark:
            place -= 1
            if place < 0:
                raise IndexError
        taken = self._stack[place + 1 :]
        del self._stack[place:]
        return taken

    def _call(self, function: object, arguments: Any) -> Any:
        name = function.name if isinstance(function, _Global) else ""
        if name in _ARRAY and arguments[0] == _Global("numpy ndarray"):
            return _Array()
        if name in _BUFFER:
            raw, form, shape, order = arguments
            return _Array(torch.from_numpy(self._numbers(form, shape, raw, "F" if order == "F" else "C")))
        if name == "numpy dtype" and isinstance(arguments[0], str):
            return _Format(arguments[0].lstrip("<>=|"), arguments[0][0] if arguments[0][0] in "<>=|" else "=")
        if name == "_codecs encode" and arguments[1] == "latin1":
            self._count(len(arguments[0]))
            return arguments[0].encode("latin1")
        if name in _EMPTY and arguments == ():
            return _EMPTY[name]()
        if name in _SCALAR and isinstance(arguments[0], _Format):
            return self._numbers(arguments[0], (), arguments[1], "C").item()
        raise ArrayPickleError("it holds a call of something else than numpy's arrays")

    def _build(self, target: object, state: Any) -> None:
        if isinstance(target, _Format):
            target.order = state[1]
        elif isinstance(target, _Array) and len(state) == 5:
            _, shape, form, is_fortran, raw = state
            target.tensor = torch.from_numpy(self._numbers(form, shape, raw, "F" if is_fortran else "C"))
        else:
            raise ArrayPickleError("it holds an object of something else than numpy's arrays")

    def _numbers(self, form: _Format, shape: Any, raw: Any, order: Literal["C", "F"]) -> np.ndarray:
        """A copy, in this machine's byte order."""
        dtype = form.dtype()
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 8:
            raise ArrayPickleError("an array in it has no sensible shape")
        if type(raw) not in (bytes, bytearray) or math.prod(shape) * dtype.itemsize != len(raw):
            raise ArrayPickleError(f"it states the shape {shape} for an array of other numbers")
        self._count(len(raw))
        # numpy refuses to look at no bytes at all.
        numbers = np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)
        return numbers.reshape(shape, order=order).astype(dtype.newbyteorder("="), order="C")

    def _count(self, taken: int) -> None:
        """A few bytes may ask for the same numbers over and over."""
        self._left -= taken
        if self._left < 0:
            raise ArrayPickleError("it makes more of its numbers than it has")


_VALUES = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_TUPLE": lambda _: (),
    "MARK": lambda _: _Mark(),
    **dict.fromkeys(
        (
            *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
            *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING", "SHORT_BINSTRING"),
        ),
        lambda argument: argument,
    ),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONTAINERS = ("TUPLE", "APPEND", "APPENDS", "SETITEM", "SETITEMS")


def _global(name: str) -> _Global:
    if name not in _KNOWN:
        raise ArrayPickleError(f"it holds {name[:100].replace(' ', '.')!a}, which is no array")
    return _Global(name)


def _plain(value: Any, depth: int = 1, done: dict[int, Any] | None = None) -> Any:
    """`value` with a tensor in place of each array. What is in it several times is looked at once."""
    done = {} if done is None else done
    if depth > MAX_DEPTH:
        raise ArrayPickleError(f"it is nested more than {MAX_DEPTH} deep")
    if id(value) in done:
        return done[id(value)]
    found = value
    if isinstance(value, _Array | _Global | _Format | _Mark):
        found = value.tensor if isinstance(value, _Array) else None
        if found is None:
            raise ArrayPickleError("it holds an array without numbers")
    elif isinstance(value, dict):
        found = {key: _plain(item, depth + 1, done) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        found = type(value)(_plain(item, depth + 1, done) for item in value)
    done[id(value)] = found
    return found
