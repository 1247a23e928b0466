"""No output takes the place of what is read, of another output, of a device or of a pipe."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from pathlib import Path

import pytest

from otadet.apps.outputs import check_outputs
from otadet.errors import OutputError, UserError
from otadet.files import atomic_write
from tests.helpers.own_pictures import write_coco

CONTENT = b"the work of hours"
SPLITS = {"train": [f"{number}.png" for number in range(4)], "val": ["9.png"]}


def call(app: str, *words: object) -> None:
    import_module(f"otadet.apps.{app}").main([str(word) for word in words])


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize(
    ("app", "option", "others"),
    [
        ("predict", "--save-json", ["--path", "a.png", "--output", "drawn"]),
        ("evaluate", "--save-json", []),
        ("evaluate", "--metrics", []),
        ("ambiguity", "--csv", []),
        ("export", "--output", []),
    ],
)
def test_the_checkpoint_stays(app, option, others, link, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("best.pth").write_bytes(CONTENT)
    Path("a.png").write_bytes(b"")
    if link:
        Path("link.onnx").symlink_to("best.pth")
    with pytest.raises(UserError, match=rf"{option} .*(is an input|must end in \.onnx)"):
        call(app, "-c", "best.pth", option, "link.onnx" if link else "best.pth", *others)
    assert Path("best.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("app", "words", "name"),
    [
        ("check", ["{data}", "--fast", "--sheet"], "images/0.png"),
        ("check", ["{data}", "--fast", "--sheet"], "images/9.png"),
        ("show", ["data", "data", "{data}", "--output"], "images/0.png"),
    ],
)
def test_pictures_of_the_data_stay(app, words, name, tmp_path):
    data = write_coco(tmp_path / "data", SPLITS)
    before = (data / name).read_bytes()
    words = [word.format(data=data) for word in words]
    with pytest.raises(OutputError, match="is an image of the data"):
        call(app, *words, data / name)
    assert (data / name).read_bytes() == before


def test_a_picture_of_another_name_may_lie_beside_them(tmp_path):
    data = write_coco(tmp_path / "data", SPLITS)
    for _ in range(2):
        call("show", "data", "data", data, "--output", data / "images/sheet.png")


@pytest.mark.parametrize(("app", "option"), [("check", "--sheet"), ("show", "--output")])
def test_what_is_no_picture_is_said_at_once(app, option, tmp_path):
    words = ["data"] if app == "show" else [tmp_path / "missing"]
    with pytest.raises(UserError, match=r"b\.txt: OpenCV cannot write \.txt"):
        call(app, *words, option, tmp_path / "b.txt")


def test_two_outputs_are_two_files(tmp_path):
    outputs = {"--csv": tmp_path / "a", "--json": tmp_path / "b/../a", "--none": None}
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputError, match=r"--csv .*: is what --json writes"):
        check_outputs(outputs)
    with pytest.raises(OutputError, match=r"--json .*b: is a folder"):
        check_outputs({**outputs, "--json": tmp_path / "b"})
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_a_pipe_and_a_device_are_written_and_stay(tmp_path):
    pipe, link = tmp_path / "pipe.json", tmp_path / "link.json"
    os.mkfifo(pipe)
    link.symlink_to("pipe.json")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    check_outputs({"--json": link, "--csv": link}, [link])
    with atomic_write(link) as file:
        file.write(CONTENT)
    reader.join()
    assert read == [CONTENT]
    assert pipe.is_fifo()
    assert link.is_symlink()
    with atomic_write(os.devnull) as file:
        file.write(CONTENT)
    assert not Path(os.devnull).is_file()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_a_full_device_is_an_error():
    with pytest.raises(OutputError, match="/dev/full: cannot be written"), atomic_write("/dev/full") as file:
        file.write(CONTENT)
    assert not Path("/dev/full").is_file()
