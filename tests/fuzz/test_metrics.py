"""A metrics.csv that was damaged or edited is gone on with, or is one `UserError`."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.engine.metrics import MetricsLog
from otadet.errors import UserError

WHOLE = b"""iteration,epoch,loss,lr,iterations_per_second,AP
2,0.5,1.25,0.001,3.1,
4,1,1.1,0.002,3.2,0.01
6,1.5,1,0.002,3,
"""
SIGNS = [b"\x00", b"\xff", b"\xef\xbb\xbf", b'"', b'"""', b",", b",,,,,,,,", b"\n", b"\r\n", b"\r", b" ", b"\x1b[31m"]
NUMBERS = [b"nan", b"-1", b"1e999", b"1" * 400, b"x" * 200_000, "²".encode(), "٣".encode()]
PIECES = [*SIGNS, *NUMBERS, b"4,1,1.1,0.002,3.2,0.01\n", b"iteration"]


def go_on(folder: Path, data: bytes) -> list[dict[str, str]]:
    (folder / "metrics.csv").write_bytes(data)
    log = MetricsLog(folder, resume_at=4)
    log.write(8, {"loss": 1.0, "new": 2.0})
    log.close()
    with open(folder / "metrics.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


def check(folder: Path, data: bytes) -> None:
    rows: list[dict[str, str]] = []
    try:
        rows += go_on(folder, data)
    except UserError as error:
        message = str(error)
    if not rows:
        assert message.startswith(f"{folder / 'metrics.csv'}: ")
        assert message.isprintable()
        assert (folder / "metrics.csv").read_bytes() == data
        return
    iterations = [int(row["iteration"]) for row in rows]
    assert iterations == sorted(set(iterations))
    assert all(iteration <= 4 for iteration in iterations[:-1])
    assert (rows[-1]["iteration"], rows[-1]["loss"], rows[-1]["new"]) == ("8", "1", "2")


@settings(max_examples=200)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 30), st.sampled_from(PIECES) | st.binary(max_size=4)),
        min_size=1,
        max_size=3,
    )
)
def test_an_edited_file(folder, edits):
    data = WHOLE
    for place, removed, piece in edits:
        data = data[:place] + piece + data[place + removed :]
    check(folder, data)


@settings(max_examples=100)
@given(data=st.binary(max_size=200))
def test_any_bytes(folder, data):
    check(folder, data)


def test_what_a_spreadsheet_makes_of_it(folder):
    """A byte order mark, CRLF, padding, and rows in another order."""
    head, *rows = WHOLE.decode().split()
    edited = "\r\n".join([head, *reversed(rows), ""]).replace(",", ", ").replace(" epoch", "epoch")
    edited = edited.replace(", ", ",", head.count(","))
    found = go_on(folder, b"\xef\xbb\xbf" + edited.encode())
    assert [(row["iteration"], row["loss"], row["AP"]) for row in found] == [
        ("2", "1.25", ""),
        ("4", "1.1", "0.01"),
        ("8", "1", ""),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"loss,lr\n1,2\n", "does not name the columns"),
        (b"iteration,loss,loss\n2,1,1\n", "does not name the columns"),
        (b"iteration,loss\n2,1\n2,1\n", "line 3: a second row of iteration 2"),
        (b"iteration,loss\n-2,1\n", "line 2: its iteration is no whole number"),
        (b"iteration,loss\n2\n", "line 2: has 1 cells for 2 columns"),
        (b"iteration,loss\n2,one\n", "line 2: its loss is no number"),
        (b"iteration,loss\n2,1\xff\n", "no UTF-8 text"),
        (b"iteration,loss\n" + b"1" * 400 + b",1\n", "line 2: its iteration is no whole number"),
        (b"", "does not name the columns"),
    ],
)
def test_what_is_wrong_is_said(folder, data, reason):
    with pytest.raises(UserError, match=rf"metrics\.csv: damaged: .*{reason}.*; remove or rename the file"):
        go_on(folder, data)


@pytest.mark.parametrize("resume_at", [None, 4])
def test_a_folder_in_its_place(tmp_path, resume_at):
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(UserError, match=r"metrics\.csv: is no file"):
        MetricsLog(tmp_path, resume_at=resume_at)
