"""A published name: fetched once from a server, gone on with where it broke off, checked, converted."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision

import otadet
from otadet.apps import convert, export, predict, train
from otadet.apps.beginning import read_beginning
from otadet.apps.published import checkpoint_path
from otadet.apps.start import Start
from otadet.convert import published
from otadet.download import fetch
from otadet.engine.checkpoint import load_checkpoint
from otadet.errors import UserError
from otadet.exp import YOLOX, load_exp
from otadet.models.backbones import resnet
from tests.helpers.own_pictures import picture, write_yolo
from tests.helpers.published_yolox import untrained

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(HTTPServer):
    """Has one file."""

    content = CONTENT
    breaks_off_at: int | None = None
    """Bytes after which the next answer ends."""
    ranges: list[str | None]
    may_answer: threading.Event

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        self.server.may_answer.wait(60)
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
    made.may_answer = threading.Event()
    made.may_answer.set()
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
def test_another_file_is_not_kept(server: Server, tmp_path: Path, sha256: str, size: int | None, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        fetch(server.address, tmp_path / "a.pth", sha256, size)
    assert not list(tmp_path.iterdir())
    # What somebody put there is left to them.
    (tmp_path / "a.pth").write_bytes(CONTENT)
    with pytest.raises(UserError, match=f"{problem}.*; remove it to have it fetched anew"):
        fetch(server.address, tmp_path / "a.pth", sha256, size)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_one_that_is_longer_is_another_file_at_once(server: Server, tmp_path: Path) -> None:
    server.content = bytes(4 << 20)
    for begun in (False, True):
        if begun:
            (tmp_path / "a.pth.part").write_bytes(bytes(1 << 20))
        with pytest.raises(
            UserError, match=r"not the file that was published: it has .* but should have 10,240; it was"
        ):
            fetch(server.address, tmp_path / "a.pth", DIGEST, len(CONTENT))
        assert not list(tmp_path.iterdir())


def test_of_several_threads_one_fetches(server: Server, tmp_path: Path) -> None:
    server.may_answer.clear()
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(fetch, server.address, tmp_path / "a.pth", DIGEST) for _ in range(3)]
        # As long as one waits for its answer, no other asks.
        wait(futures, timeout=0.3)
        server.may_answer.set()
        assert [future.result(60).read_bytes() == CONTENT for future in futures] == [True] * 3
    assert server.ranges == [None]


def test_without_a_net_there_is_a_way(server: Server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"put the file at .*a\.pth by yourself"):
        fetch(server.address, tmp_path / "a.pth", DIGEST)


def test_of_several_processes_one_fetches(server: Server, tmp_path: Path) -> None:
    server.may_answer.clear()
    code = f"from otadet.download import fetch; fetch({server.address!r}, {str(tmp_path / 'a.pth')!r}, {DIGEST!r})"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.stderr for process in processes)
    assert first is not None
    assert second is not None
    # One fetches and the other waits, before the server says anything.
    assert sorted("waiting for another" in stream.readline() for stream in (first, second)) == [False, True]
    server.may_answer.set()
    assert [process.wait(60) for process in processes] == [0, 0]
    first.close()
    second.close()
    assert server.ranges == [None]
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


@pytest.fixture
def nano(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A tiny network is what is published as yolox-nano; the current folder is empty."""
    torch.manual_seed(0)
    torch.save({"model": untrained("yolox", classes=80, width=0.0625)}, tmp_path / "file.pth")
    server.content = (tmp_path / "file.pth").read_bytes()
    one = published.Published(server.address, hashlib.sha256(server.content).hexdigest(), "none", 0.0, 416)
    monkeypatch.setitem(published.PUBLISHED, "yolox-nano", one)
    monkeypatch.setenv("OTADET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return server


def test_a_name_is_a_detector(nano: Server) -> None:
    for _ in range(2):
        detector = otadet.load("yolox-nano", "cpu")
        (found,) = detector([torch.zeros(40, 30, 3, dtype=torch.uint8).numpy()])
        assert len(found.vocabulary) == 80
    assert nano.ranges == [None]


def test_apps_take_a_name_for_a_checkpoint(nano: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", 0)
    predict.main(["-c", "yolox-nano", "--path", str(tmp_path / "a.png"), "--save-json", "found.json", "--conf", "0"])
    assert json.loads(Path("found.json").read_text())[0]["detections"]
    written: list[Path] = []

    def write(pipeline: object, output: Path, *args: object, **options: object) -> SimpleNamespace:
        written.append(output)
        output.touch()
        return SimpleNamespace()

    monkeypatch.setattr("otadet.export.export_onnx", write)
    export.main(["-c", "yolox-nano"])
    assert written == [Path("yolox-nano.onnx")], "here, not in the cache"
    convert.main(["yolox-nano", "mine.pth"])
    assert torch.load("mine.pth", weights_only=True)["experiment"]["name"] == "mine"
    assert nano.ranges == [None]


TINY = "length 1iterations input.resize 64x64 train_resize 64x64 augment none batch_size 2 workers 0"


def test_a_training_starts_from_a_name(nano: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[Any, ...]] = []
    monkeypatch.setattr("otadet.engine.launch.launch", lambda *args, **options: started.append(args[3]))
    data = write_yolo(tmp_path / "data", {"train": ["a.png", "b.png"], "val": ["c.png"]})
    for words in (["-c", "yolox-nano", "data", str(data)], ["-c", "yolox-nano", "-f", "ota_csp_nano"]):
        train.main([*words, "--device", "cpu"])
    (tuned, first), (_, second) = started
    assert (type(tuned.value).__name__, tuned.value.name) == ("FineTuneExp", "yolox-nano")
    assert first.checkpoint == second.checkpoint
    assert len(load_checkpoint(first.checkpoint)["class_names"]) == 80
    assert nano.ranges == [None]


EXPERIMENT = """
from otadet.exp import YOLOX, SGD, DataFolder, YOLOXExp

class Exp(YOLOXExp):
    data = DataFolder({data!r})
    model = YOLOX(0.33, 0.0625, depthwise=True, weights="yolox-nano")
    optimizer = SGD(lr=1e-12)
"""


def test_an_experiment_says_where_it_starts(
    nano: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_yolo(tmp_path / "data", {"train": ["a.png", "b.png"], "val": ["c.png"]})
    (data / "data.yaml").write_text("train: train/images\nval: val/images\nnames: [Dog]\n")
    Path("mine.py").write_text(EXPERIMENT.replace("{data!r}", repr(str(data))))
    train.main(["-f", "mine.py", *TINY.split()])
    log = Path("runs/mine/train.log").read_text()
    assert "start: yolox-nano: 636 of the network's 642 tensors taken over; of the class layer the rows" in log
    trained = torch.load("runs/mine/last.pth", weights_only=True)
    given = torch.load(tmp_path / "file.pth", weights_only=True)["model"]
    # So low a rate leaves the weights as they were; COCO's class 16 is dog, which keeps its row.
    assert torch.allclose(trained["model"]["head.logits.0.weight"], given["head.cls_preds.0.weight"][16:17])
    assert torch.allclose(trained["model"]["head.boxes.0.weight"], given["head.reg_preds.0.weight"])
    # What was trained needs neither the net nor the cache.
    shutil.rmtree(tmp_path / "cache")
    otadet.load("runs/mine/last.pth", "cpu")
    assert read_beginning(load_exp("mine.py"), Start(tmp_path, resume="runs/mine/last.pth")).weights is None
    assert "model.weights yolox-nano is not read: runs/mine/last.pth has all weights" in capsys.readouterr().err
    assert nano.ranges == [None]


def test_python_gets_the_weights_too(nano: Server) -> None:
    started, plain = (YOLOX(0.33, 0.0625, True, weights=weights).build(3) for weights in ("yolox-nano", None))
    state = torch.load(BytesIO(nano.content), weights_only=True)["model"]
    assert torch.equal(started.head.boxes[0].weight, state["head.reg_preds.0.weight"])
    assert started.head.logits[0].weight.shape == plain.head.logits[0].weight.shape
    with pytest.raises(UserError, match=r"weights yolox-nano: not those of this network: \d+ of another shape"):
        YOLOX(0.33, 0.125, True, weights="yolox-nano").build(3)
    with pytest.raises(UserError, match=r"not those of this network: .*missing"):
        YOLOX(0.67, 0.0625, True, weights="yolox-nano").build(80)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolox-nan", r"no such checkpoint; the published ones are yolox-nano, .*; did you mean 'yolox-nano'\?"),
        ("best", "no such checkpoint; the published ones are"),
        ("YOLOX_Tiny", "no such checkpoint; the published one is called yolox-tiny"),
        ("weights/yolox_s.pth", "no such checkpoint; the published one is called yolox-s"),
        ("runs/best.pth", "no such checkpoint$"),
    ],
)
def test_a_name_that_is_none(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        predict.main(["-c", name, "--path", "a.png"])
    with pytest.raises(UserError, match="no such file"):
        YOLOX(weights=name).build(3)


def test_a_file_of_that_name_goes_first(
    nano: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("yolox-nano").mkdir()
    assert checkpoint_path("yolox-nano").is_file(), "a folder is no checkpoint"
    monkeypatch.chdir(tmp_path)
    Path("yolox-nano").write_text("mine")
    with pytest.raises(UserError, match="yolox-nano: not a checkpoint of otadet"):
        otadet.load("yolox-nano")
    assert "note: yolox-nano is the file in this folder" in capsys.readouterr().err


def test_the_list_has_all_names(capsys: pytest.CaptureFixture[str]) -> None:
    convert.main(["--list"])
    text = capsys.readouterr().out
    assert re.search(r"yolox-s +40\.5 +640 +72\.1  Apache-2\.0 +f55ded7181e1b0c1", text)
    convert.main(["--list", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert listed.keys() == published.PUBLISHED.keys()
    assert all(name in text for name in listed)
    with pytest.raises(UserError, match="SRC and DST"):
        convert.main(["yolox-nano"])


def test_without_a_place_to_keep_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OTADET_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="the folder that OTADET_CACHE names"):
        otadet.load("yolox-nano")


def test_imagenet_is_kept_in_the_same_place(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "file.pth")
    server.content = (tmp_path / "file.pth").read_bytes()
    name = f"resnet18-{hashlib.sha256(server.content).hexdigest()[:8]}.pth"
    enum = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=server.address.replace("file.pth", name)))
    monkeypatch.setattr(resnet, "get_model_weights", lambda name: enum)
    monkeypatch.setenv("OTADET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for _ in range(2):
        resnet.build_resnet(18, "imagenet")
    assert server.ranges == [None]
    # What PyTorch has already is not fetched again.
    (tmp_path / "torch/hub/checkpoints").mkdir(parents=True)
    (tmp_path / "cache" / name).rename(tmp_path / "torch/hub/checkpoints" / name)
    server.ranges.clear()
    resnet.build_resnet(18, "imagenet")
    assert not server.ranges
    shutil.rmtree(tmp_path / "torch")
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"weights imagenet: .* put the file at .*backbone.weights none"):
        resnet.build_resnet(18, "imagenet")


def test_every_name_has_its_checksum() -> None:
    for name, one in published.PUBLISHED.items():
        assert len(one.sha256) in (8, 64), name
        assert int(one.sha256, 16) >= 0
        assert len(one.sha256) == 64 or one.file_name.endswith(f"-{one.sha256}.pth")
        assert one.address.startswith("https://")
