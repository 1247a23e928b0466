"""Checkpoints of YOLOX by other programs' names: every tensor finds its place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import otadet
from otadet.apps.convert import main
from otadet.convert.programs import PROGRAMS, program_of
from otadet.convert.yolox import layout_of
from otadet.engine.checkpoint import load_checkpoint
from otadet.errors import UserError
from otadet.exp import YOLOX
from otadet.exp.words import YOLOX_LAYOUTS
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


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"model": {name: tensor * 0 for name, tensor in state.items()}, "ema": {"module": state}},
        lambda state: {"model": state, "ema": None, "optimizer": {"state": {0: {"momentum_buffer": torch.ones(1)}}}},
        lambda state: {"model": state, "best_ap": np.float64(0.3), "curr_ap": np.float64(0.2)},
        lambda state: {"model": {name: tensor.half() for name, tensor in state.items()}},
        lambda state: {"model": {name: state[name] for name in state if not name.endswith("num_batches_tracked")}},
    ],
    ids=["bare", "of several processes", "averaged", "with an optimizer", "of YOLOX's trainer", "half", "no counters"],
)
def test_files_as_trainings_write_them(tmp_path: Path, wrap) -> None:
    state = published("yolox")
    torch.save(wrap(state), tmp_path / "theirs.pth")
    main([str(tmp_path / "theirs.pth"), str(tmp_path / "ours.pth"), "--classes", "a,b,c"])
    found = load_checkpoint(tmp_path / "ours.pth")["model"]
    name = "head.logits.1.weight"
    torch.testing.assert_close(found[name], state[authors(name)], rtol=1e-3, atol=1e-3)


STEM = authors("backbone.stem.block.conv.weight")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({STEM: torch.zeros(8, 13, 3, 3)}, r"is \(8, 13, 3, 3\), but"),
        # The network that it would be has 2 billion weights.
        ({STEM: torch.zeros(512, 12, 3, 3)}, r"but .* of the network is \(512,\)"),
        ({STEM: torch.zeros(1, 12, 3, 3)}, r"published\.pth: .* a stem of 1 channels"),
        ({STEM: torch.zeros(8)}, r"backbone\.stem\.block\.conv\.weight is \(8,\)"),
        ({authors("head.logits.0.weight"): torch.zeros(3)}, r"head\.logits\.0\.weight is \(3,\)"),
        ({STEM: torch.zeros(8, 12, 3, 3, dtype=torch.int8)}, "torch.int8; quantised"),
        ({STEM: torch.full((8, 12, 3, 3), torch.nan)}, "holds infinity or NaN"),
        ({STEM: torch.full((8, 12, 3, 3), 1e300, dtype=torch.float64)}, "holds infinity or NaN"),
        ({"\x1b[31mred": torch.zeros(1)}, r"whose name is none, '\\x1b\[31mred'"),
        ({"x" * 1001: torch.zeros(1)}, "whose name is none"),
    ],
)
def test_hostile_tensors_are_one_line(tmp_path: Path, change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(UserError, match=message):
        converted(tmp_path, {**published("yolox"), **change}, "--classes", "a,b,c")
    assert not (tmp_path / "ours.pth").exists()


def test_of_many_unused_tensors_the_first_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {**published("yolox"), **{f"extra.{number}": torch.zeros(1) for number in range(1000)}}
    converted(tmp_path, state, "--classes", "a,b,c")
    said = capsys.readouterr().out
    assert "1,000 tensors not used" in said
    assert len(said) < 1000


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_the_file_to_convert_is_not_written(tmp_path: Path, link) -> None:
    torch.save(published("yolox"), tmp_path / "theirs.pth")
    before = (tmp_path / "theirs.pth").read_bytes()
    link(tmp_path / "link.pth", tmp_path / "theirs.pth")
    for target in ("theirs.pth", "link.pth"):
        with pytest.raises(UserError, match="is the very file to convert"):
            main([str(tmp_path / "theirs.pth"), str(tmp_path / target), "--classes", "a,b,c"])
    assert (tmp_path / "theirs.pth").read_bytes() == before


def test_what_is_no_file_of_another_program(tmp_path: Path) -> None:
    ours = converted(tmp_path, published("yolox"), "--classes", "a,b,c")
    for source, message in ((ours, "of otadet already"), (tmp_path, "is a folder"), (tmp_path / "no", "no such file")):
        with pytest.raises(UserError, match=message):
            main([str(source), str(tmp_path / "new" / "out.pth")])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "0"), "--size 0: .* at least 1"),
        (("--size", "70000"), "--size 70000: .* at most"),
        (("--from", "mmdet-yolox"), "has the names of yolox, not of mmdet-yolox"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        converted(tmp_path, published("yolox"), "--classes", "a,b,c", *arguments)


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


@pytest.mark.parametrize(
    ("word", "millions"), [("yolox_m", 25.3), ("yolox_l", 54.2), ("yolox_x", 99.1)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("program", NAMING)
def test_large_layouts_are_known(program: str, word: str, millions: float) -> None:
    with torch.device("meta"):
        own = YOLOX_LAYOUTS[word]()
        state = {NAMING[program](name): tensor for name, tensor in own.build(80).state_dict().items()}
        named = PROGRAMS[program].named(state, "file")
        layout = layout_of(named, "file")
        network = YOLOX(layout.depth, layout.width, layout.depthwise).build(layout.num_classes)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in named.items()}
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
