"""Paths that the system refuses to look at, in place of any file or folder: one error, before any work."""

from __future__ import annotations

import pytest

from otadet.data.synthetic.write import write_synthetic
from otadet.engine.checkpoint import load_checkpoint, newest_checkpoint
from otadet.engine.run_folder import run_folder
from otadet.errors import OutputError, UserError
from otadet.exp import BaseExp, load_exp
from otadet.files import atomic_write, check_folder, check_writable
from otadet.models.backbones.resnet import build_resnet
from tests.helpers.coco import coco_dataset
from tests.helpers.programs import call_tool
from tests.helpers.tiny_experiment import write_tiny_experiment


@pytest.fixture(params=["too long a name", "too long a path", "circle of links", "inside a file"])
def path(request, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    return {
        "too long a name": tmp_path / ("x" * 300),
        "too long a path": tmp_path.joinpath(*["folder"] * 1000),
        "circle of links": tmp_path / "circle" / "last.pth",
        "inside a file": tmp_path / "file" / "last.pth",
    }[request.param]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_experiment(tmp_path_factory.mktemp("tiny"))


def test_what_is_to_be_read(path, tiny):
    exp = BaseExp()
    exp.override(["data", str(path)])
    annotations = tiny.data / "annotations/instances_val.json"
    for read in (
        lambda: load_checkpoint(path),
        lambda: load_exp(path),
        lambda: build_resnet(18, str(path)),
        lambda: coco_dataset(path, tiny.data / "val"),
        lambda: coco_dataset(annotations, path),
        exp.build_val_dataset,
        lambda: write_synthetic(path, images_train=1, images_val=1, size=48, classes=1),
    ):
        with pytest.raises(UserError):
            read()
    assert newest_checkpoint(path) is None


def test_what_is_to_be_written(path):
    with pytest.raises(OutputError), run_folder(path):
        pass
    with pytest.raises(OutputError):
        check_writable(None, path)
    with pytest.raises(OutputError, match="cannot be used as output folder"):
        check_folder(path)
    with pytest.raises(OutputError), atomic_write(path):
        pytest.fail("the work was done before")


def test_a_file_that_can_be_written_is_left_as_it_is(tmp_path):
    (tmp_path / "old").write_text("mine")
    check_writable(tmp_path / "old", tmp_path / "new" / "file", None)
    assert (tmp_path / "old").read_text() == "mine"
    assert not list((tmp_path / "new").iterdir())


def test_a_folder_that_can_be_written_is_made_and_left_as_it_is(tmp_path):
    check_folder(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file: cannot be used as output folder"):
        check_folder(tmp_path / "file")


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "-c", "CKPT", "--save-json", "PATH"),
        ("eval", "-c", "CKPT", "--metrics", "PATH"),
        ("ambiguity", "-c", "CKPT", "--csv", "PATH"),
        ("visualize_assign", "--path", "000001.png", "--output", "PATH"),
        ("visualize_assign", "--path", "PATH"),
        ("demo", "image", "-c", "CKPT", "--path", "PATH"),
        ("demo", "image", "-c", "CKPT", "--path", "IMAGES", "--output", "PATH"),
        ("demo", "image", "-c", "CKPT", "--path", "IMAGES", "--save-json", "PATH"),
        ("train", "--output", "PATH"),
        ("train", "--output", "PATH", "--resume", "auto"),
        ("train", "--resume", "PATH"),
        ("train", "-c", "PATH"),
    ],
    ids=" ".join,
)
def test_tools(words, path, tiny, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    # Those who import it come first: what is imported while it is replaced would keep what it is replaced by.
    for module in ("otadet.apps.assign", "otadet.exp", "otadet.exp.load"):
        monkeypatch.setattr(f"{module}.load_detector", lambda *_, **__: pytest.fail("work before the error"))
    known = {"CKPT": tiny.checkpoint, "PATH": path, "IMAGES": tiny.data / "val"}
    command, *rest = ([words[0], words[1]] if words[0] == "demo" else [words[0]]) + ["-f", tiny.file]
    with pytest.raises(UserError):
        call_tool(monkeypatch, command, *rest, *(known.get(word, word) for word in words[len(rest) - 1 :]))
