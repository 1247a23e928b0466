"""Files of `torch.save`, read by `torch.load` after everything in them has been verified.

`torch.load` does not compare an archive's checksums, believes the sizes that a file states and unpacks what is
compressed. Here all of that is looked at first, so that memory is bounded by the size of the file.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from otadet.array_pickle import ArrayPickleError, is_pickle, read_array_pickle
from otadet.errors import UserError, reason_of
from otadet.pickle_grammar import MAX_DEPTH, NUMBER_FORMATS, ForeignObjectError, PickleError, read_instructions

MAX_PICKLE = 1 << 22
"""Bytes of the part that is not numbers of tensors; that of a large detector is a few hundred thousand."""
MAX_OBJECTS = 200_000
_ARCHIVE = b"PK\x03\x04"
_IS_FOLDER = 0x10
_IN_LARGE_RECORD = 0xFFFFFFFF
"""In place of a number of 32 bits: it is in the record for large archives."""
# BadZipFile is what zipfile documents; the others are what damaged archives bring out of it.
_ZIP_ERRORS = (zipfile.BadZipFile, struct.error, EOFError, OSError, OverflowError, RuntimeError, ValueError)
_WITHOUT_OBJECTS = (
    "where you trust the file, write its tensors alone to another: "
    "torch.save(torch.load(FILE, weights_only=False)['state_dict'], OTHER), or whatever its key for them is"
)


class TorchFileError(Exception):
    """Not a file of tensors and plain Python as `torch.save` writes it, or a damaged one."""


def is_archive(path: str | Path) -> bool:
    """Whether a file begins as those that `torch.save` writes since PyTorch 1.6."""
    with open(path, "rb") as file:
        return file.read(4) == _ARCHIVE


def read_weights_file(path: str | Path, what: object) -> Any:
    """What a file that a user named holds: PyTorch's, or a pickle of numpy arrays, which become tensors.

    Raises `UserError`, beginning with `what`, for what cannot be read.
    """
    try:
        return read_array_pickle(path) if is_pickle(path) else read_torch_file(path)
    except ArrayPickleError as error:
        raise UserError(f"{what}: not a pickle of numpy arrays, or damaged: {error}") from error
    except TorchFileError as error:
        is_foreign = isinstance(error.__cause__, ForeignObjectError)
        way_out = "; " + _WITHOUT_OBJECTS if is_foreign else ""
        raise UserError(f"{what}: not a file of PyTorch weights, or damaged: {error}{way_out}") from error
    except OSError as error:
        raise UserError(f"{what}: cannot be read ({reason_of(error)})") from error


def read_torch_file(path: str | Path) -> Any:
    """The object that `torch.save` wrote, its tensors on the CPU.

    Ordered dicts come as dicts, parameters as tensors, single numbers of numpy as Python's.

    Files of PyTorch before 1.6 are read too; they have no checksums, only their sizes are verified.

    Raises `TorchFileError` where any byte that matters is not what was written, and for anything but plain Python and
    dense tensors within their memory; `OSError` for a file that cannot be opened.
    """
    # One open file for all: what is loaded is what was verified, even if another file takes its name meanwhile.
    with open(path, "rb") as file:
        if not (size := os.fstat(file.fileno()).st_size):
            raise TorchFileError("the file is empty")
        verify = _verify_archive if file.read(4) == _ARCHIVE else _verify_legacy
        file.seek(0)
        try:
            verify(file, size)
        except PickleError as error:
            raise TorchFileError(str(error)) from error
        file.seek(0)
        return _Copy().of(_load(file))


def _load(file: IO[bytes]) -> Any:
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    # What torch.load raises for a file that it cannot read is documented nowhere, and of a dozen types.
    except Exception as error:
        said = (str(error).splitlines() or [""])[0][:100]
        raise TorchFileError(f"PyTorch cannot read it ({type(error).__name__}: {said!a})") from error


def _numpy_globals() -> list[Any]:
    """What makes a single number of numpy, by the names that its versions have for it."""
    make = np.float64(0).__reduce__()[0]
    makers = [(make, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*makers, np.dtype, *(type(np.dtype(name)) for name in NUMBER_FORMATS)]


def _verify_archive(file: IO[bytes], file_size: int) -> None:
    """Raise unless every part of a zip archive is whole, and it holds the numbers that its pickle states."""
    try:
        with zipfile.ZipFile(file) as archive:
            parts = _parts(archive.infolist(), file_size)
            _check_directory(archive, file, file_size)
            damaged = archive.testzip()
            if damaged is not None:
                raise TorchFileError(f"the archive is damaged (checksum of {damaged!a})")
            pickle = archive.read(parts["data.pkl"])
    except _ZIP_ERRORS as error:
        raise TorchFileError(f"the archive is damaged ({error})") from error
    for storage in read_instructions(BytesIO(pickle)).storages():
        part = parts.get(f"data/{storage.key}")
        if part is None or part.file_size != storage.nbytes:
            has = "none" if part is None else f"{part.file_size:,}"
            raise TorchFileError(f"it states {storage.nbytes:,} bytes for a tensor that has {has}")


def _parts(infos: Sequence[zipfile.ZipInfo], file_size: int) -> dict[str, zipfile.ZipInfo]:
    """Name, without the folder that all are in, -> part. Raises unless each is stored as it is, once."""
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
        raise TorchFileError("its content is compressed, which PyTorch's never is")
    # torch.load reads nothing for a folder, and leaves the memory as it finds it.
    if any(info.external_attr & _IS_FOLDER for info in infos):
        raise TorchFileError("the archive is damaged (attributes of its parts)")
    if sum(info.file_size for info in infos) > file_size:
        raise TorchFileError("it states larger parts than it has bytes")
    # torch.load compares names as bytes and without regard to case.
    names = {info.filename.lower() for info in infos if info.filename.isascii()}
    if len(names) != len(infos) or len({name.partition("/")[0] for name in names}) != 1:
        raise TorchFileError("the archive is damaged (names of its parts)")
    parts = {info.filename.partition("/")[2]: info for info in infos}
    if "data.pkl" not in parts:
        raise TorchFileError("it is a zip archive of something else")
    if parts["data.pkl"].file_size > MAX_PICKLE:
        raise TorchFileError(f"its data.pkl has more than {MAX_PICKLE:,} bytes")
    return parts


def _check_directory(archive: zipfile.ZipFile, file: IO[bytes], file_size: int) -> None:
    """Raise unless all that state where the archive's directory is agree: zipfile and torch.load go by different ones.

    They are the record at its end and, before it, the two that archives above 4 GB need and torch.save always writes.
    """
    file.seek(max(0, file_size - 98))
    tail = file.read()
    signature, offset, comment = struct.unpack("<4s12xLH", tail[-22:])
    agree = signature == b"PK\x05\x06" and comment == 0 and offset in (archive.start_dir, _IN_LARGE_RECORD)
    if tail[-42:-38] == b"PK\x06\x07":
        directory, record = struct.unpack("<48xQ8xQ26x", tail)
        agree = agree and directory == archive.start_dir and record == file_size - 98
    # Parts can state sizes and places twice as well.
    large = file_size > _IN_LARGE_RECORD
    if not agree or any(info.extra and not large for info in archive.infolist()):
        raise TorchFileError("the archive is damaged (place of its directory)")


def _verify_legacy(file: IO[bytes], file_size: int) -> None:
    """Raise unless a file has room for the numbers that it states.

    It is five pickles (magic number, protocol, machine, the object, names of its storages), then of each storage its
    length, which torch.load compares, and its numbers.
    """
    # Not of the file itself: of that Python takes the memory that a text states before it reads it.
    start = BytesIO(file.read(MAX_PICKLE))
    *heads, content, names = (read_instructions(start) for _ in range(5))
    for head in heads:
        head.storages()
    sizes = {storage.key: storage.nbytes for storage in sorted(content.storages(), key=lambda storage: storage.nbytes)}
    if not re.fullmatch(r"l(?:\(x*e|xa)*", names.letters) or {*names.values, None} != {*sizes, None}:
        raise TorchFileError("the numbers of its tensors are missing")
    if sum(sizes.values()) > file_size:
        raise TorchFileError("it states larger tensors than it has bytes")


class _Copy:
    """Copies what `torch.load` returned: without subclasses, as deep and as large as a walk through it can be."""

    def __init__(self) -> None:
        self._objects = 0

    def of(self, value: Any, depth: int = 1) -> Any:
        self._objects += 1
        if depth > MAX_DEPTH or self._objects > MAX_OBJECTS:
            raise TorchFileError(f"it is nested more than {MAX_DEPTH} deep or has more than {MAX_OBJECTS:,} parts")
        if isinstance(value, dict):
            # A file can give an ordered dict an attribute `items`.
            return {key: self.of(item, depth + 1) for key, item in dict.items(value)}
        if isinstance(value, list | tuple):
            return type(value)(self.of(item, depth + 1) for item in value)
        if isinstance(value, np.generic):
            return value.item()
        return value.detach() if isinstance(value, Tensor) else value
