"""Files of `torch.save`, read as what they should be: tensors and plain Python, every byte of them verified.

`torch.load` does not compare an archive's checksums, believes the sizes that a file states and unpacks what is
compressed. This reader does none of that, and its memory is bounded by the size of the file.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from otadet.plain_pickle import PickleError, read_plain_pickle

MAX_PICKLE = 1 << 24
"""Bytes of the part that is not numbers of tensors; that of a large detector is a few hundred thousand."""
MAX_SIZE = 1 << 48
"""Largest size of an axis; torch multiplies them without looking."""
_CHUNK = 1 << 22
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

TENSOR_TYPES = frozenset(_DTYPES.values())
"""The number formats that can be read."""
# BadZipFile is what zipfile documents; the others are what damaged archives bring out of it.
_ZIP_ERRORS = (zipfile.BadZipFile, struct.error, EOFError, OSError, OverflowError, RuntimeError, ValueError)


class TorchFileError(PickleError):
    """Not a file of tensors and plain Python as `torch.save` writes it, or a damaged one."""


def is_archive(path: str | Path) -> bool:
    """Whether a file begins as those that `torch.save` writes since PyTorch 1.6."""
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def read_torch_file(path: str | Path) -> Any:
    """The object that `torch.save` wrote, its tensors on the CPU; ordered dicts come as dicts, parameters as tensors.

    Raises `TorchFileError` where any byte that matters is not what was written, and for tensors that are no plain
    dense ones: views larger than their memory, sparse, quantized, of subclasses; `OSError` for a file that cannot be
    opened.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _Reader(archive, Path(path).stat().st_size).read()
        except PickleError as error:
            raise TorchFileError(str(error)) from error
        except _ZIP_ERRORS as error:
            raise TorchFileError(f"the archive is damaged ({error})") from error


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, file_size: int) -> None:
        self._archive = archive
        self._members = _members(archive, file_size)
        self._storages: dict[str, Tensor] = {}

    def read(self) -> Any:
        if self._content("byteorder", 16) not in (b"", sys.byteorder.encode()):
            raise TorchFileError("it comes from a machine with another byte order")
        data = BytesIO(self._content("data.pkl", MAX_PICKLE))
        value = read_plain_pickle(data, plain_names(), self._storage)
        # Parts that nothing refers to are part of the file all the same.
        for name in self._members:
            self._verify(name)
        return value

    def _content(self, name: str, limit: int) -> bytes:
        """A small member's bytes; none if it is not there."""
        info = self._members.pop(name, None)
        if info is None:
            return b""
        if info.file_size > limit:
            raise TorchFileError(f"{name} in it has {info.file_size:,} bytes, which is more than {limit:,}")
        return self._archive.read(info)

    def _verify(self, name: str) -> None:
        with self._archive.open(self._members[name]) as member:
            while member.read(_CHUNK):
                pass

    def _storage(self, identity: Any) -> Tensor:
        """(N,) the numbers of the storage with a persistent id ("storage", dtype, key, device, N)."""
        kind, dtype, key, _, count = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise TorchFileError("it refers to something that is no storage of a tensor")
        name = f"data/{key}"
        if name not in self._storages:
            if name not in self._members:
                raise TorchFileError(f"the numbers of a tensor ({_shown(name)}) are missing in it")
            self._storages[name] = self._read(self._members.pop(name))
        return as_numbers(self._storages[name], dtype, count, name)

    def _read(self, info: zipfile.ZipInfo) -> Tensor:
        storage = torch.empty(info.file_size, dtype=torch.uint8)
        with self._archive.open(info) as member:
            read_numbers(member, storage)
            # zipfile compares the checksum when it comes to the end.
            member.read(1)
        return storage


def plain_names() -> dict[str, Any]:
    """What the names in a pickle of plain tensors stand for."""
    return {
        "collections OrderedDict": dict,
        "torch._utils _rebuild_tensor_v2": _tensor,
        "torch._utils _rebuild_parameter": lambda tensor, requires_grad, hooks: tensor,
        **{f"torch {name}Storage": dtype for name, dtype in _DTYPES.items()},
    }


def as_numbers(storage: Tensor, dtype: torch.dtype, count: object, name: str) -> Tensor:
    """(count,) of `dtype`: a view of the bytes `storage`, whose name is `name`."""
    if type(count) is not int or count * dtype.itemsize != len(storage):
        raise TorchFileError(f"it states {_shown(count)} numbers for a tensor of {len(storage)} bytes ({name})")
    return storage.view(dtype)


def read_numbers(file: IO[bytes], storage: Tensor) -> None:
    """Fill `storage`, bytes, from a file."""
    memory: Any = storage.numpy()
    done = 0
    while done < len(memory):
        chunk = file.read(min(_CHUNK, len(memory) - done))
        if not chunk:
            raise TorchFileError("the numbers of a tensor are cut short")
        memory[done : done + len(chunk)] = memoryview(chunk)
        done += len(chunk)


def _members(archive: zipfile.ZipFile, file_size: int) -> dict[str, zipfile.ZipInfo]:
    """Name, without the folder that all are in, -> member. `TorchFileError` unless each is stored as it is."""
    infos = archive.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
        raise TorchFileError("its content is compressed, which PyTorch's never is")
    if sum(info.file_size for info in infos) > file_size:
        raise TorchFileError("it states larger parts than it has bytes")
    members = {info.filename.partition("/")[2]: info for info in infos}
    if len(members) != len(infos) or len({info.filename.partition("/")[0] for info in infos}) != 1:
        raise TorchFileError("the archive is damaged (names of its parts)")
    if "data.pkl" not in members:
        raise TorchFileError("it is a zip archive of something else")
    return members


def _tensor(
    storage: Tensor,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
    hooks: Mapping[str, Any],
    metadata: object = None,
) -> Tensor:
    """A view of `storage` (N,) that lies within it and has no element twice by its number."""
    numbers = (offset, *size, *stride)
    if not all(type(number) is int and 0 <= number < MAX_SIZE for number in numbers) or len(size) != len(stride):
        raise TorchFileError("a tensor in it has no sensible shape")
    count = 1
    for length in size:
        count *= length
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count > len(storage) or (count > 0 and last >= len(storage)):
        raise TorchFileError(f"it states the shape {_shown(size)} for a tensor of {len(storage)} numbers")
    return storage.as_strided(size, stride, offset) if count else storage.new_empty(size)


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
