"""Files of `torch.save`: everything plain is read as it was, anything else is refused before it takes memory."""

from __future__ import annotations

import pickle
import resource
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from otadet.legacy_torch_file import read_legacy_torch_file
from otadet.torch_file import TorchFileError, read_torch_file


def content() -> dict:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    row = torch.arange(12.0)
    return {
        "model": OrderedDict(model.state_dict()),
        "optimizer": optimizer.state_dict(),
        "views": [row, row.view(3, 4).T, row[2:5], row[:0], torch.zeros((0, 3))],
        "kinds": [torch.ones(2, dtype=kind) for kind in (torch.float16, torch.bfloat16, torch.bool, torch.int64)],
        "parameter": nn.Parameter(torch.ones(2)),
        "scalar": torch.tensor(1.5),
        "plain": {"number": 10**20, "text": "é\ud800", 3: (1, 2.5, None, True, ()), "list": [[-1], []]},
    }


def same(first, second) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return type(first) is type(second) and all(map(same, first, second)) and len(first) == len(second)
    return type(first) is type(second) and first == second


@pytest.mark.parametrize(
    ("read", "archive"), [(read_torch_file, True), (read_legacy_torch_file, False)], ids=["archive", "legacy"]
)
def test_everything_plain_is_as_it_was(tmp_path, read, archive):
    torch.save(content(), tmp_path / "a.pth", _use_new_zipfile_serialization=archive)
    assert same(read(tmp_path / "a.pth"), content())


def test_views_share_their_memory(tmp_path):
    torch.save(content(), tmp_path / "a.pth")
    whole, turned, *_ = read_torch_file(tmp_path / "a.pth")["views"]
    assert whole.untyped_storage().data_ptr() == turned.untyped_storage().data_ptr()


class Call:
    """Pickled as a call of anything."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def nested(depth: int, width: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value] * width
    return value


CYCLE: list = []
CYCLE.append(CYCLE)
REFUSED = {
    "a call": Call(print, "called"),
    "a byte array of 20 GB": Call(bytearray, 20 * 10**9),
    "a set": {1, 2},
    "a number of numpy": np.float64(1),
    "a device": torch.device("cpu"),
    "an expanded tensor": torch.zeros(1).expand(10**10),
    "overlapping rows": torch.zeros(4).as_strided((4, 4), (0, 1)),
    "a sparse tensor": torch.eye(2).to_sparse(),
    "a quantized tensor": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "a meta tensor": torch.empty(10**10, device="meta"),
    "complex numbers": torch.ones(2, dtype=torch.complex64),
    "a long number": 10**2000,
    "a key that is a tuple": {(1, 2): 3},
    "a cycle": CYCLE,
    "depth": nested(100, 1),
    "a billion laughs": nested(30, 10),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_anything_else_is_refused(tmp_path, capsys, name, archive):
    torch.save({"x": REFUSED[name]}, tmp_path / "a.pth", _use_new_zipfile_serialization=archive)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TorchFileError):
        (read_torch_file if archive else read_legacy_torch_file)(tmp_path / "a.pth")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB
    assert capsys.readouterr().out == ""


def rewrite(path: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> None:
    """Write the archive anew with other content of some members; dots of their names are given as __."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(contents)).split("/")[0]
    contents |= {f"{root}/{name.replace('__', '.')}": content for name, content in members.items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def test_compressed_content_is_refused(tmp_path):
    torch.save({"x": torch.zeros(10**6)}, tmp_path / "a.pth")
    rewrite(tmp_path / "a.pth", zipfile.ZIP_DEFLATED)
    with pytest.raises(TorchFileError, match="compressed"):
        read_torch_file(tmp_path / "a.pth")


def test_sizes_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"x": torch.zeros(70_000)}, path)
    with zipfile.ZipFile(path) as archive:
        data = archive.read("a/data.pkl")
    size = pickle.BININT + (70_000).to_bytes(4, "little")
    for count in (70_001, 2**31 - 1, 1):
        rewrite(path, data__pkl=data.replace(size, pickle.BININT + count.to_bytes(4, "little")))
        with pytest.raises(TorchFileError, match="it states"):
            read_torch_file(path)


def test_another_byte_order_is_refused(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "a.pth")
    rewrite(tmp_path / "a.pth", byteorder=b"big")
    with pytest.raises(TorchFileError, match="byte order"):
        read_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_legacy_files_cut_short_are_refused(tmp_path, kept):
    path = tmp_path / "a.pth"
    torch.save(content(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(TorchFileError):
        read_legacy_torch_file(path)
