"""Checkpoints of YOLOX by other programs' names: every tensor finds its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import otadet
from otadet.apps.convert import main
from otadet.convert.programs import program_of
from otadet.errors import UserError
from tests.helpers.published_yolox import NAMING, authors, published

SHARED = Path(__file__).parents[3] / "shared" / "weights" / "yolox_nano.pth"


def converted(folder: Path, state: dict[str, Tensor], *arguments: str) -> Path:
    torch.save({"model": state}, folder / "published.pth")
    main([str(folder / "published.pth"), str(folder / "ours.pth"), *arguments])
    return folder / "ours.pth"


@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("program", NAMING)
def test_every_tensor_finds_its_place(tmp_path: Path, program: str, depthwise: bool) -> None:
    state = published(program, depthwise=depthwise)
    assert program_of(state, "file") == program
    path = converted(tmp_path, state, "--classes", "a,b,c")
    found = torch.load(path, weights_only=True)["model"]
    assert len(found) == len(state)
    stem = "backbone.stem.block.conv.weight"
    for name, tensor in found.items():
        if name != stem and not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, state[NAMING[program](name)]), name
    # Theirs sees BGR in each quarter of the stem's input.
    theirs = state[NAMING[program](stem)].unflatten(1, (4, 3))
    assert torch.equal(found[stem].unflatten(1, (4, 3)), theirs[:, :, [2, 1, 0]])


def test_what_comes_out_detects_by_itself(tmp_path: Path) -> None:
    detector = otadet.load(converted(tmp_path, published("yolox"), "--classes", "a,b,c", "--size", "64"), "cpu")
    (found,) = detector([torch.zeros(40, 30, 3, dtype=torch.uint8).numpy()])
    assert found.vocabulary == ("a", "b", "c")


def test_an_unused_tensor_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {**published("yolox"), "head.extra.weight": torch.zeros(1)}
    converted(tmp_path, state, "--classes", "a,b,c", "--json")
    assert json.loads(capsys.readouterr().out)["unused"] == ["head.extra.weight"]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda state: state.pop(authors("head.boxes.1.weight")), (), r"lacks 1 of .* head\.boxes\.1\.weight"),
        (
            lambda state: state.update({authors("head.boxes.1.bias"): torch.zeros(5)}),
            (),
            r"head\.boxes\.1\.bias is \(5,\), but .* \(4,\)",
        ),
        (lambda state: state.clear() or state.update(a=torch.zeros(1)), (), r"names of none of yolox"),
        (lambda state: None, ("--classes", "a,b"), "has 3 classes, but --classes are 2"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, change, arguments: tuple[str, ...], message: str) -> None:
    state = published("yolox")
    change(state)
    with pytest.raises(UserError, match=message):
        converted(tmp_path, state, *(arguments or ("--classes", "a,b,c")))
    assert not (tmp_path / "ours.pth").exists()


def test_two_tensors_of_one_name_are_told_from_each_other(tmp_path: Path) -> None:
    state = published("yolox")
    name = authors("neck.laterals.0.conv.weight")
    state["neck.laterals.0.conv.weight"] = state[name].clone()
    with pytest.raises(UserError, match=r"are the same tensor, neck\.laterals\.0\.conv\.weight"):
        converted(tmp_path, state, "--classes", "a,b,c")


def test_classes_that_nobody_named_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name them by --classes"):
        converted(tmp_path, published("yolox"))


@pytest.mark.skipif(not SHARED.is_file(), reason="the published weights are not here")
def test_the_published_nano_has_all_its_tensors(tmp_path: Path) -> None:
    main([str(SHARED), str(tmp_path / "nano.pth")])
    state = torch.load(tmp_path / "nano.pth", weights_only=True)
    assert len(state["model"]) == 642
    assert len(state["class_names"]) == 80
    assert state["parts"]["input"]["resize"]["size"] == [416, 416]
