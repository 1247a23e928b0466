"""Files of `torch.save`: everything plain is read as it was, anything else is refused before it takes memory."""

from __future__ import annotations

import pickle
import re
import resource
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from otadet.torch_file import TorchFileError, read_torch_file


def content() -> dict:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    row = torch.arange(12.0)
    return {
        "model": model.state_dict(),
        "ordered": OrderedDict(a=1, b=OrderedDict()),
        "optimizer": optimizer.state_dict(),
        "views": [row, row.view(3, 4).T, row[2:5], row[:0], torch.zeros((0, 3))],
        "kinds": [torch.ones(2, dtype=kind) for kind in (torch.float16, torch.bfloat16, torch.bool, torch.int64)],
        "parameter": nn.Parameter(torch.ones(2)),
        "scalar": torch.tensor(1.5),
        "plain": {"number": 10**20, "text": "é\ud800", 3: (1, 2.5, None, True, ()), "list": [[-1], [], ((), [{}])]},
        "long": [list(range(3000)), {str(number): [number] for number in range(3000)}],
        "shared": [(shared := (0.9, 0.99)), shared],
    }


def same(first, second) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return type(first) is type(second) and all(map(same, first, second)) and len(first) == len(second)
    return type(first) is type(second) and first == second


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_everything_plain_is_as_it_was(tmp_path, archive):
    torch.save(content(), tmp_path / "a.pth", _use_new_zipfile_serialization=archive)
    assert same(read_torch_file(tmp_path / "a.pth"), content())


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_single_numbers_of_numpy_are_plain_ones(tmp_path, archive):
    kinds = (np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_)
    numbers = [kind(number) for number in (1, 0) for kind in kinds]
    torch.save([numbers, numbers[0]], tmp_path / "a.pth", _use_new_zipfile_serialization=archive)
    expected = [number.item() for number in numbers]
    assert same(read_torch_file(tmp_path / "a.pth"), [expected, expected[0]])


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
    "a complex number of numpy": np.complex64(1),
    "a text of numpy": np.str_("a"),
    "a time of numpy": np.datetime64(1, "s"),
    "an array of numpy": np.ones(1),
    "a format of numpy": np.dtype("f8"),
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
        read_torch_file(tmp_path / "a.pth")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB
    assert capsys.readouterr().out == ""


def text(value: str) -> bytes:
    return pickle.BINUNICODE + len(value).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    return pickle.LONG1 + b"\x08" + value.to_bytes(8, "little")


def pair(first: bytes, second: bytes) -> bytes:
    return first + second + pickle.TUPLE2


def tensor(size: bytes, stride: bytes, key: bytes = text("0"), count: bytes = number(1), hooks: bytes = b")R") -> bytes:
    """The pickle of a tensor in a storage of one number."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + key + text("cpu") + count + b"tQ"
    rest = number(0) + size + stride + pickle.NEWFALSE + b"ccollections\nOrderedDict\n" + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


def numpy_number(
    form: str = "f8",
    order: str = "<",
    size: bytes = pickle.BININT + b"\xff\xff\xff\xff",
    codec: str = "latin1",
    content: str = "\0" * 8,
) -> bytes:
    """The pickle of a number of numpy."""
    kind = b"cnumpy\ndtype\n" + text(form) + pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3 + b"R"
    state = b"(K\x03" + text(order) + b"NNN" + size + size + b"K\0tb"
    encoded = b"c_codecs\nencode\n" + pair(text(content), text(codec)) + b"R"
    return b"cnumpy.core.multiarray\nscalar\n" + pair(kind + state, encoded) + b"R"


ORDERED = b"ccollections\nOrderedDict\n"
DOUBLED = b"N\x85" + b"".join(b"q" + bytes([place]) + b"h" + bytes([place]) + b"\x86" for place in range(60))
MANY_ROWS = tensor(pair(number(10**10), number(2)), pair(number(0), number(0)))
BOMBS = {
    "a key nested 300,000 deep": b"}N" + b"\x85" * 300_000 + b"Ns",
    "a key of 2**60 parts": b"}" + DOUBLED + b"Ns",
    "a key of a storage that is nested": tensor(b")", b")", key=b"N" + b"\x85" * 300_000),
    "a key of a storage that is NaN": tensor(b")", b")", key=b"G\x7f\xf8" + bytes(6)),
    "a call of 2**60 parts": DOUBLED + b")R",
    "a dict of the rows of a tensor": ORDERED + MANY_ROWS + b"\x85R",
    "arguments that are a tensor": ORDERED + MANY_ROWS + b"R",
    "attributes that are a tensor": ORDERED + b")R" + MANY_ROWS + b"b",
    "a dict copied again and again": b"}q\0(" + b"NN" * 1000 + b"u(" + (ORDERED + b"h\0\x85R") * 1000 + b"t",
    "a size that is a tensor": tensor(tensor(b")", b")") + b"\x85", number(1) + b"\x85"),
    "a length that is a tensor": tensor(b")", b")", count=MANY_ROWS),
    "a length that is negative": tensor(b")", b")", count=pickle.LONG1 + b"\x01\xff"),
    "a tensor of 10**11 numbers": tensor(number(10**11) + b"\x85", number(1) + b"\x85"),
    "a storage of 10**11 numbers": tensor(number(10**11) + b"\x85", number(1) + b"\x85", count=number(10**11)),
    "another key": tensor(b")", b")", key=text("1")),
    "hooks": tensor(b")", b")", hooks=b")R(" + text("x") + b"Nu"),
    "a storage": b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(1) + b"tQ",
    "a class": ORDERED,
    "a class called by another instruction": ORDERED + b")\x81",
    "nothing": b"",
    "two values": b"NN",
    "another protocol": b"\x80\x04N",
    "a place that was never filled": b"h\x07",
    "an object of numpy": numpy_number("O"),
    "10 GB of numpy": numpy_number("V10000000000"),
    "10 GB of numpy by their size": numpy_number(size=number(10**10)),
    "a number of numpy of a strange order": numpy_number(order="=" if sys.byteorder == "big" else ">"),
    "a text unpacked": numpy_number(codec="zip"),
    "a number of numpy cut short": numpy_number(content="\0" * 7),
    "a number of numpy that is a tensor's": b"cnumpy.core.multiarray\nscalar\n" + pair(MANY_ROWS, b"N") + b"R",
    "more than 4 MiB": b"(" + b"N" * (1 << 22) + b"t",
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_torch_never_writes_are_refused(tmp_path, name):
    torch.save({"x": torch.zeros(1)}, tmp_path / "a.pth")
    rewrite(tmp_path / "a.pth", data__pkl=b"\x80\x02" + BOMBS[name] + b".")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TorchFileError):
        read_torch_file(tmp_path / "a.pth")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB


def test_pickles_written_by_hand_are_read(tmp_path):
    """The bombs are refused for what they hold, not for how this test writes them."""
    torch.save({"x": torch.zeros(1)}, tmp_path / "a.pth")
    fine = tensor(pair(number(1), number(1)), pair(number(1), number(1)))
    order = {"little": "<", "big": ">"}[sys.byteorder]
    rewrite(tmp_path / "a.pth", data__pkl=b"\x80\x02(" + fine + tensor(b")", b")") + numpy_number(order=order) + b"t.")
    assert same(read_torch_file(tmp_path / "a.pth"), (torch.zeros(1, 1), torch.zeros(()), 0.0))


def test_attributes_of_a_file_hide_no_methods(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "a.pth")
    rewrite(tmp_path / "a.pth", data__pkl=b"\x80\x02" + ORDERED + b")R}" + text("items") + b"Nsb.")
    assert read_torch_file(tmp_path / "a.pth") == {}


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


def with_two_directories(first: bytes, second: bytes) -> dict[str, bytes]:
    """Files that are one archive for who looks for its directory before its end, another for who goes by its place."""
    end = len(second) - 22
    size = int.from_bytes(second[end + 12 : end + 16], "little")
    place = int.from_bytes(first[-6:-2], "little")
    return {
        "in front": first + second,
        "in front, found by its place": first + second[:end] + second[end:-6] + place.to_bytes(4, "little") + bytes(2),
        "in the comment": second[:-2] + len(first).to_bytes(2, "little") + first,
        "in the comment, found by its place": second[:-6]
        + (len(second) + place).to_bytes(4, "little")
        + len(first).to_bytes(2, "little")
        + first
        + bytes(size),
    }


def test_archives_with_two_directories_are_refused(tmp_path):
    """torch.load would not read what was verified."""
    for name, value in (("first", 1), ("second", 2)):
        torch.save({"x": value}, tmp_path / f"{name}.pth")
        rewrite(tmp_path / f"{name}.pth")
    first, second = ((tmp_path / f"{name}.pth").read_bytes() for name in ("first", "second"))
    for name, data in with_two_directories(first, second).items():
        (tmp_path / "both.pth").write_bytes(data)
        with pytest.raises(TorchFileError, match="damaged"):
            print(name, read_torch_file(tmp_path / "both.pth"))


def test_parts_that_are_marked_as_folders_are_refused(tmp_path):
    """torch.load would take whatever is in the memory for their content."""
    path = tmp_path / "a.pth"
    torch.save({"x": torch.ones(100)}, path)
    data = path.read_bytes()
    for found in re.finditer(rb"PK\x01\x02", data):
        attributes = found.start() + 38
        path.write_bytes(data[:attributes] + bytes([data[attributes] | 0x10]) + data[attributes + 1 :])
        with pytest.raises(TorchFileError, match="attributes of its parts"):
            read_torch_file(path)


def test_names_that_differ_in_case_are_refused(tmp_path):
    torch.save({"x": 1}, tmp_path / "a.pth")
    rewrite(tmp_path / "a.pth", **{"DATA__PKL": b"x"})
    with pytest.raises(TorchFileError, match="names of its parts"):
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


def test_files_of_machines_with_another_byte_order_are_read(tmp_path):
    numbers = torch.tensor([1.0, -2.5])
    torch.save({"x": numbers}, tmp_path / "a.pth")
    other = {"little": "big", "big": "little"}[sys.byteorder]
    rewrite(tmp_path / "a.pth", byteorder=other.encode(), **{"data/0": numbers.numpy().byteswap().tobytes()})
    assert read_torch_file(tmp_path / "a.pth")["x"].tolist() == [1, -2.5]
    rewrite(tmp_path / "a.pth", byteorder=b"middle")
    with pytest.raises(TorchFileError, match="ValueError"):
        read_torch_file(tmp_path / "a.pth")


def test_legacy_files_that_state_a_text_of_10_terabytes_are_refused(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"\x80\x02\x8d" + (10**13).to_bytes(8, "little"))
    with pytest.raises(TorchFileError, match="damaged"):
        read_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_legacy_files_cut_short_are_refused(tmp_path, kept):
    path = tmp_path / "a.pth"
    torch.save(content(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(TorchFileError):
        read_torch_file(path)


def test_an_empty_file_is_said_to_be_one(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(TorchFileError, match=r"^the file is empty$"):
        read_torch_file(tmp_path / "a.pth")
