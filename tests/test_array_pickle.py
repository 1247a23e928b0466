"""Pickles of numpy arrays: what numpy writes is read, and nothing else; no name in a file is looked up."""

from __future__ import annotations

import collections
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.array_pickle import ArrayPickleError, is_pickle, read_array_pickle


def read(content: bytes, folder: Path) -> Any:
    path = folder / "model.pkl"
    path.write_bytes(content)
    return read_array_pickle(path)


ARRAYS = {
    "f4": np.arange(6, dtype="f4").reshape(2, 3),
    "f2": np.arange(3, dtype="f2"),
    "f8": np.array(2.5),
    "i8": np.array([[1], [-2]]),
    "u1": np.array([0, 255], dtype="u1"),
    "b1": np.array([True, False]),
    "none": np.zeros((0, 3), dtype="f4"),
    "columns first": np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
    "another byte order": np.arange(4, dtype=">f4"),
    "every other": np.arange(8, dtype="f4")[::2],
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_numpy_writes_is_read(tmp_path: Path, protocol: int) -> None:
    shared = ARRAYS["f4"]
    content = {
        "model": collections.OrderedDict(ARRAYS),
        "again": [shared, (shared, None, True, 3, -1.5, 2**40)],
        "__author__": "somebody",
        "iteration": np.int64(7),
        "lr": np.float32(0.5),
    }
    found = read(pickle.dumps(content, protocol), tmp_path)
    for name, array in ARRAYS.items():
        tensor = found["model"][name]
        assert isinstance(tensor, torch.Tensor), name
        assert tensor.shape == array.shape
        assert np.array_equal(tensor.numpy(), array), name
    assert found["model"]["f4"] is found["again"][0]
    assert found["again"][1][1:] == (None, True, 3, -1.5, 2**40)
    assert (found["__author__"], found["iteration"], found["lr"]) == ("somebody", 7, 0.5)


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


DTYPE = (
    b"cnumpy\ndtype\n(" + text("f4") + number(0) + number(1) + b"tR(" + number(3) + text("<") + b"NNN" + number(-1) * 2
)
DTYPE += number(0) + b"tb"
NEW = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"tU\x01btR"


def array(shape: bytes, raw: bytes, dtype: bytes = DTYPE) -> bytes:
    """As Python 2 wrote it, whose texts are bytes."""
    return (
        NEW + b"(" + number(1) + b"(" + shape + b"t" + dtype + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    )


def test_what_python_2_wrote_is_read(tmp_path: Path) -> None:
    numbers = np.array([1.5, -2.0], dtype="<f4")
    found = read(b"\x80\x02}U\x05blobs" + array(number(2), numbers.tobytes()) + b"s.", tmp_path)
    assert found["blobs"].tolist() == [1.5, -2.0]


class Call:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.reduced


def nested(depth: int) -> tuple[Any, ...]:
    value: tuple[Any, ...] = ()
    for _ in range(depth):
        value = (value, value)
    return value


REFUSED = {
    "a command": (pickle.dumps(Call(os.system, "touch /tmp/no")), "posix.system"),
    "a class of numpy's": (pickle.dumps(np.random.RandomState(0)), "which is no array"),
    "an array of objects": (pickle.dumps(np.array([print, {}], dtype=object)), "builtins.print"),
    "an array of texts": (pickle.dumps(np.array(["a"])), "the format 'U1'"),
    "fields": (pickle.dumps(np.zeros(2, dtype=[("a", "f4")])), "the format 'V4'"),
    "a longer shape": (b"\x80\x02" + array(number(3), b"12345678") + b".", "of other numbers"),
    "a negative shape": (b"\x80\x02" + array(number(-2), b"12345678") + b".", "no sensible shape"),
    "a shape of texts": (b"\x80\x02" + array(text("a"), b"12345678") + b".", "no sensible shape"),
    "no numbers": (b"\x80\x02" + NEW + b".", "an array without numbers"),
    "deep": (pickle.dumps(nested(40)), "nested more than"),
    "a key of arrays": (b"\x80\x02}(" + b")" + number(1) + b"u.", "no text"),
    "nothing": (b"\x80\x02.", "damaged"),
    "a set": (pickle.dumps({1, 2}), "EMPTY_SET"),
    "protocol 0": (b"\x80\x02I1\n.", "the instruction INT"),
    "empty": (b"", "it is empty"),
    "a text of 10 terabytes": (b"\x80\x04\x8d" + (10**13).to_bytes(8, "little") + b"a.", "damaged"),
    "bytes of 10 terabytes": (b"\x80\x04\x8e" + (10**13).to_bytes(8, "little") + b"a.", "damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(tmp_path: Path, name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(ArrayPickleError, match=message):
        read(content, tmp_path)


def test_numbers_are_not_multiplied(tmp_path: Path) -> None:
    """A megabyte that is remembered, and asked for by a few bytes each time."""
    raw = bytes(1 << 20)
    remembered = b"B" + len(raw).to_bytes(4, "little") + raw + b"q\x01"
    one = NEW + b"(" + number(1) + b"(" + number(1 << 18) + b"t" + DTYPE + b"\x89h\x01tb"
    assert read(b"\x80\x03](" + remembered + one + b"e.", tmp_path)[1].shape == (1 << 18,)
    with pytest.raises(ArrayPickleError, match="more of its numbers than it has"):
        read(b"\x80\x03](" + remembered + one * 3 + b"e.", tmp_path)
    codec = b"c_codecs\nencode\n(h\x01" + text("latin1") + b"tR"
    long = b"X" + len(raw).to_bytes(4, "little") + raw + b"q\x01"
    with pytest.raises(ArrayPickleError, match="more of its numbers than it has"):
        read(b"\x80\x03](" + long + codec * 3 + b"e.", tmp_path)


def test_shared_content_costs_once(tmp_path: Path) -> None:
    found = read(pickle.dumps(nested(25)), tmp_path)
    assert found[0] is found[1]


SMALL = pickle.dumps({"model": {"a.weight": ARRAYS["f4"], "b": ARRAYS["i8"]}, "__author__": "x"}, 2)


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    for length in range(len(SMALL)):
        with pytest.raises(ArrayPickleError):
            read(SMALL[:length], tmp_path)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SMALL) - 1), st.integers(0, 255))
def test_a_damaged_file_is_plain_or_refused(tmp_path_factory, place: int, value: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        found = read(SMALL[:place] + bytes([value]) + SMALL[place + 1 :], folder)
    except ArrayPickleError:
        return
    assert type(found) in (dict, int, str, float, bool, list, tuple, bytes, type(None), torch.Tensor)


def test_what_is_one_is_known_by_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for protocol in (2, 3, 4, 5):
        path.write_bytes(pickle.dumps({"a": 1}, protocol))
        assert is_pickle(path)
    for archive in (True, False):
        torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=archive)
        assert not is_pickle(path)
    for content in (b"", b"\x80", b"PK\x03\x04", b"{}"):
        path.write_bytes(content)
        assert not is_pickle(path)
