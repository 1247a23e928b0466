"""Files that `torch.save` wrote before PyTorch 1.6, such as many pretrained networks, read as `torch_file` reads."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from otadet.plain_pickle import PickleError, read_plain_pickle
from otadet.torch_file import TorchFileError, as_numbers, plain_names, read_numbers

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_legacy_torch_file(path: str | Path) -> Any:
    """The object of such a file: five pickles (magic number, protocol, machine, the object, names of its storages),
    then of each storage its length and its numbers. There are no checksums: what is verified is that the sizes fit.

    Raises `TorchFileError` as `read_torch_file` does, and `OSError`.
    """
    with open(path, "rb") as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size)
        except (PickleError, struct.error) as error:
            raise TorchFileError(str(error)) from error


def _read(file: BinaryIO, file_size: int) -> Any:
    if _pickle(file) != _MAGIC or _pickle(file) != _PROTOCOL:
        raise TorchFileError("it is not of PyTorch")
    machine = _pickle(file)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise TorchFileError("it comes from a machine with another byte order")
    storages: dict[str, tuple[Tensor, int]] = {}

    def storage(identity: Any) -> Tensor:
        kind, dtype, key, _, count, view = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or view is not None or type(count) is not int:
            raise TorchFileError("it refers to something that is no storage of a tensor")
        if key not in storages:
            size = count * dtype.itemsize
            if not 0 <= size <= file_size - sum(len(other) for other, _ in storages.values()):
                raise TorchFileError("it states larger tensors than it has bytes")
            storages[key] = torch.empty(size, dtype=torch.uint8), count
        return as_numbers(storages[key][0], dtype, count, ascii(key))

    value = read_plain_pickle(file, plain_names(), storage)
    keys = _pickle(file)
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise TorchFileError("the numbers of its tensors are missing")
    for key in keys:
        memory, count = storages[key]
        if struct.unpack("<q", file.read(8))[0] != count:
            raise TorchFileError("the numbers of a tensor are of another length than it states")
        read_numbers(file, memory)
    return value


def _pickle(file: BinaryIO) -> Any:
    return read_plain_pickle(file, {}, lambda identity: None)
