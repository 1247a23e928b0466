"""A published name: fetched once from a server, gone on with where it broke off, checked, converted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

import otadet
from otadet.convert import published
from otadet.convert.download import fetch
from otadet.errors import UserError
from tests.helpers.published_yolox import untrained

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(HTTPServer):
    """Has one file."""

    content = CONTENT
    breaks_off_at: int | None = None
    """Bytes after which the next answer ends."""
    ranges: list[str | None]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        rest = self.server.content[begin:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.breaks_off_at])
        self.server.breaks_off_at = None

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.ranges = []
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_it_is_fetched_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        assert fetch(server.address, tmp_path / "new/a.pth", DIGEST, len(CONTENT)).read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.pth"]


def test_it_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.breaks_off_at = 1000
    with pytest.raises(UserError, match=r"cannot be fetched.*goes on where it broke off"):
        fetch(server.address, tmp_path / "a.pth", DIGEST)
    assert not (tmp_path / "a.pth").exists()
    assert fetch(server.address, tmp_path / "a.pth", DIGEST[:8]).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


@pytest.mark.parametrize(
    ("sha256", "size", "problem"),
    [
        ("0" * 8, None, "should begin with 00000000"),
        (DIGEST, 9, "should have 9"),
        (DIGEST, 10**6, "should have 1,000,000"),
    ],
)
def test_another_file_is_removed(server: Server, tmp_path: Path, sha256: str, size: int | None, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        fetch(server.address, tmp_path / "a.pth", sha256, size)
    assert not list(tmp_path.iterdir())


def test_without_a_net_there_is_a_way(server: Server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"put the file at .*a\.pth by yourself"):
        fetch(server.address, tmp_path / "a.pth", DIGEST)


def test_a_name_is_a_detector(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"model": untrained("yolox", classes=80, width=0.0625)}, tmp_path / "file.pth")
    server.content = (tmp_path / "file.pth").read_bytes()
    one = published.Published(server.address, hashlib.sha256(server.content).hexdigest(), "none", 0.0, 416)
    monkeypatch.setitem(published.PUBLISHED, "yolox-nano", one)
    monkeypatch.setenv("OTADET_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        detector = otadet.load("yolox-nano", "cpu")
        (found,) = detector([torch.zeros(40, 30, 3, dtype=torch.uint8).numpy()])
        assert len(found.vocabulary) == 80
    assert server.ranges == [None]


def test_every_name_has_its_checksum() -> None:
    for name, one in published.PUBLISHED.items():
        assert len(one.sha256) in (8, 64), name
        assert int(one.sha256, 16) >= 0
        assert len(one.sha256) == 64 or one.file_name.endswith(f"-{one.sha256}.pth")
        assert one.address.startswith("https://")
