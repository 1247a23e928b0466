"""Which pickles `torch.load` is given: those that `torch.save` writes for tensors and plain Python, and no others.

`weights_only=True` runs nobody's code, but a file of a few bytes can still make it crash (a key of a dict that is a
tuple nested a million deep), hang (an error message that prints a list of lists of lists ...) or fill the memory (a
byte array; an ordered dict of the rows of a tensor that has 10**10 of them). So the pickle's instructions are compared
with a grammar first. They are written as text, a letter for each, and what makes up a value is replaced by the letter
of a value until one is left.
"""

from __future__ import annotations

import pickletools
import re
import sys
from dataclasses import dataclass
from typing import IO, Any

import torch

MAX_DEPTH = 32
MAX_INSTRUCTIONS = 1 << 22
"""Those of a large detector are a few hundred thousand."""
_MAX_SIZE = 1 << 48
"""Largest size of an axis; torch multiplies them without looking."""
_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
"""Number formats by torch's names of their storages."""
TENSOR_TYPES = frozenset(_DTYPES.values())
"""The number formats that can be read."""
_GLOBALS: dict[str, tuple[str, Any]] = {
    "torch._utils _rebuild_tensor_v2": ("T", None),
    "torch._utils _rebuild_parameter": ("P", None),
    "collections OrderedDict": ("O", None),
    **{f"torch {name}Storage": ("S", dtype) for name, dtype in _DTYPES.items()},
    **{f"numpy.{core}.multiarray scalar": ("M", None) for core in ("core", "_core")},
    "numpy dtype": ("K", None),
    "_codecs encode": ("E", None),
}
_NAMED = "xTPOSMKE"
"""Letters of texts and globals."""
NUMBER_FORMATS = frozenset(("b1", "f2", "f4", "f8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))))
"""Those of numpy's single numbers, by its names."""
_LETTERS = {
    **dict.fromkeys(("NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT"), "n"),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1"), "i"),
    **{"BINUNICODE": "x", "EMPTY_LIST": "l", "EMPTY_DICT": "d", "EMPTY_TUPLE": ")", "MARK": "("},
    **{"TUPLE": "t", "TUPLE1": "1", "TUPLE2": "2", "TUPLE3": "3", "APPEND": "a", "APPENDS": "e"},
    **{"SETITEM": "s", "SETITEMS": "u", "REDUCE": "R", "BUILD": "b", "BINPERSID": "Q"},
}
_KEY, _VALUE = "[nix]", r"[nixld)v]"
_SHAPE = r"\)|i1|ii2|iii3|\(i*t"
_STORAGE = r"\(x(?P<dtype>S)(?P<key>x)x(?P<count>i)n?tQ"
_TENSOR = re.compile(rf"T\({_STORAGE}(?P<offset>i)(?P<size>{_SHAPE})(?P<stride>{_SHAPE})nO\)RtR")
# A number of numpy: its format, and its bytes as a text; both may have been made before.
_NUMBER = re.compile(
    r"M(?:K(?P<format>x)nn3R\((?P<version>i)(?P<order>x)nnn(?P<sizes>iii)tb|v)(?:Ex(?P<encoding>x)2R|v)2R"
)
_RULES = [
    (re.compile(pattern), letter)
    for pattern, letter in (
        (r"PvnO\)R3R", "v"),
        (r"O\)R", "d"),
        (rf"\({_VALUE}*t|{_VALUE}1|{_VALUE}{{2}}2|{_VALUE}{{3}}3", "v"),
        (rf"l(?:\({_VALUE}*e|{_VALUE}a)+", "l"),
        (rf"d(?:\((?:{_KEY}{_VALUE})*u|{_KEY}{_VALUE}s)+", "d"),
        # Attributes of an ordered dict: the versions of the modules that a state dict is of.
        ("ddb", "d"),
    )
]


class PickleError(Exception):
    """Not a pickle of tensors and plain Python as `torch.save` writes it, or a damaged one."""


class ForeignObjectError(PickleError):
    """A pickle with an object of another kind, as other programs put into their files."""


@dataclass(frozen=True)
class Storage:
    """The numbers of one or more tensors."""

    key: str
    nbytes: int


@dataclass(frozen=True)
class Instructions:
    """Of one pickle, without those that only remember something for later."""

    letters: str
    values: list[Any]
    """Of each letter the number, text or number format that it stands for, or None."""

    def storages(self) -> list[Storage]:
        """The storages of all tensors.

        Raises `PickleError` unless the pickle makes None, bool, int, float, str, tuple, list, dict, single numbers of
        numpy and dense tensors within their storages, that have no element twice by their number, and nothing else.
        """
        storages = [self._storage(tensor) for tensor in _TENSOR.finditer(self.letters)]
        if not all(map(self._is_number, _NUMBER.finditer(self.letters))):
            raise PickleError("a number of numpy in it has no sensible format")
        left = _NUMBER.sub("v", _TENSOR.sub("v", self.letters))
        for _ in range(MAX_DEPTH):
            for pattern, letter in _RULES:
                left = pattern.sub(letter, left)
        if not re.fullmatch(_VALUE, left):
            raise PickleError(f"its content is damaged, nested more than {MAX_DEPTH} deep, or not plain Python")
        return storages

    def _is_number(self, number: re.Match[str]) -> bool:
        """Whether it is written as numpy writes it, in the order of this machine's bytes."""
        if number["encoding"] and self.values[number.start("encoding")] != "latin1":
            return False
        if number["format"] is None:
            return True
        name, version, order = (self.values[number.start(part)] for part in ("format", "version", "order"))
        own = {"little": "<", "big": ">"}[sys.byteorder]
        sizes = self.values[slice(*number.span("sizes"))]
        return name in NUMBER_FORMATS and version == 3 and order in ("|", own) and sizes == [-1, -1, 0]

    def _storage(self, tensor: re.Match[str]) -> Storage:
        key, dtype, count, offset = (self.values[tensor.start(part)] for part in ("key", "dtype", "count", "offset"))
        size, stride = (
            [number for number in self.values[slice(*tensor.span(part))] if number is not None]
            for part in ("size", "stride")
        )
        if not all(0 <= number < _MAX_SIZE for number in (count, offset, *size, *stride)) or len(size) != len(stride):
            raise PickleError("a tensor in it has no sensible shape")
        numbers = 1
        for length in size:
            numbers *= length
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if numbers > count or (numbers > 0 and last >= count):
            raise PickleError(f"it states the shape {tuple(size[:8])} for a tensor of {count} numbers")
        return Storage(key, count * dtype.itemsize)


def read_instructions(file: IO[bytes]) -> Instructions:
    """Those of the pickle at the file's position, which is its end afterwards.

    Raises `PickleError` for names and instructions that no pickle of tensors and plain Python has.
    """
    letters: list[str] = []
    values: list[Any] = []
    remembered: dict[int, tuple[str, Any]] = {}
    argument: Any
    try:
        for code, argument, _ in pickletools.genops(file):
            if code.name in ("BINPUT", "LONG_BINPUT"):
                # What was made by instructions is a value; texts and globals are still known for what they are.
                named = letters[-1] in _NAMED
                remembered[argument] = (letters[-1], values[-1]) if named else ("v", None)
            elif code.name == "STOP":
                break
            elif code.name != "PROTO" or argument != 2:
                letter, value = _letter(code.name, argument, remembered)
                letters.append(letter)
                values.append(value)
            if len(letters) + len(remembered) > MAX_INSTRUCTIONS:
                raise PickleError(f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions")
    # What pickletools and a memory that is not filled say to damaged files.
    except (IndexError, KeyError, ValueError) as error:
        raise PickleError(f"its content is damaged ({type(error).__name__})") from error
    return Instructions("".join(letters), values)


def _letter(name: str, argument: Any, remembered: dict[int, tuple[str, Any]]) -> tuple[str, Any]:
    if name in ("BINGET", "LONG_BINGET"):
        return remembered[argument]
    if name == "GLOBAL":
        if argument not in _GLOBALS:
            shown = argument[:100].replace(" ", ".")
            raise ForeignObjectError(f"it holds {shown!a}, which is neither a tensor nor plain Python")
        return _GLOBALS[argument]
    if name not in _LETTERS:
        raise PickleError(f"it holds the instruction {name}, which plain data does not need")
    letter = _LETTERS[name]
    return letter, argument if letter in "ix" else None
