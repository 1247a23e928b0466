"""Checkpoints of YOLOX by other programs' names: every tensor finds its place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import otadet
from otadet.apps.convert import main
from otadet.convert.programs import program_of
from otadet.errors import UserError
from otadet.exp import YOLOX

SHARED = Path(__file__).parents[3] / "shared" / "weights" / "yolox_nano.pth"


def authors(name: str) -> str:
    """What YOLOX's authors call a tensor of otadet's network: the inverse, written by itself."""
    part, rest = name.split(".", 1)
    rest = re.sub(r"\bdepthwise\b", "dconv", re.sub(r"\bpointwise\b", "pconv", re.sub(r"\bnorm\b", "bn", rest)))
    if part == "head":
        for ours, theirs in (
            ("class_towers", "cls_convs"),
            ("box_towers", "reg_convs"),
            ("logits", "cls_preds"),
            ("boxes", "reg_preds"),
            ("quality", "obj_preds"),
        ):
            rest = rest.replace(ours, theirs)
        return f"head.{rest}"
    rest = re.sub(r"bottlenecks\.(\d+)\.reduce", r"m.\1.conv1", rest)
    rest = re.sub(r"bottlenecks\.(\d+)\.spatial", r"m.\1.conv2", rest)
    is_pyramid = rest.startswith("stages.3.1.")
    rest = rest.replace(".reduce.", ".conv1.")
    rest = rest.replace(".merge.", ".conv2." if is_pyramid else ".conv3.")
    rest = rest.replace(".main.", ".conv1.").replace(".bypass.", ".conv2.")
    if part == "backbone":
        rest = re.sub(r"^stages\.(\d)", lambda found: f"dark{int(found[1]) + 2}", rest)
        return f"backbone.backbone.{rest.replace('stem.block', 'stem.conv')}"
    places = {
        "laterals.0": "reduce_conv1",
        "laterals.1": "lateral_conv0",
        "top_down.0": "C3_p3",
        "top_down.1": "C3_p4",
        "strided.0": "bu_conv2",
        "strided.1": "bu_conv1",
        "bottom_up.0": "C3_n3",
        "bottom_up.1": "C3_n4",
    }
    place = next(place for place in places if rest.startswith(place))
    return f"backbone.{places[place]}{rest[len(place) :]}"


def mmdet(name: str) -> str:
    """What MMDetection calls it."""
    name = re.sub(r"\bdepthwise\b", "depthwise_conv", re.sub(r"\bpointwise\b", "pointwise_conv", name))
    name = re.sub(r"\bnorm\b", "bn", name)
    name = re.sub(r"bottlenecks\.(\d+)\.reduce", r"blocks.\1.conv1", name)
    name = re.sub(r"bottlenecks\.(\d+)\.spatial", r"blocks.\1.conv2", name)
    if name.startswith("backbone.stages.3.1."):
        name = name.replace(".reduce.", ".conv1.").replace(".merge.", ".conv2.")
    name = name.replace(".main.", ".main_conv.").replace(".bypass.", ".short_conv.").replace(".merge.", ".final_conv.")
    name = re.sub(r"^backbone\.stages\.(\d)", lambda found: f"backbone.stage{int(found[1]) + 1}", name)
    for ours, theirs in (
        ("backbone.stem.block", "backbone.stem.conv"),
        ("neck.laterals.0", "neck.reduce_layers.1"),
        ("neck.laterals.1", "neck.reduce_layers.0"),
        ("neck.top_down.0", "neck.top_down_blocks.1"),
        ("neck.top_down.1", "neck.top_down_blocks.0"),
        ("neck.strided", "neck.downsamples"),
        ("neck.bottom_up", "neck.bottom_up_blocks"),
        ("head.stems", "neck.out_convs"),
        ("head.class_towers", "bbox_head.multi_level_cls_convs"),
        ("head.box_towers", "bbox_head.multi_level_reg_convs"),
        ("head.logits", "bbox_head.multi_level_conv_cls"),
        ("head.boxes", "bbox_head.multi_level_conv_reg"),
        ("head.quality", "bbox_head.multi_level_conv_obj"),
    ):
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name


NAMING = {"yolox": authors, "mmdet-yolox": mmdet}


def published(program: str, *, depthwise: bool = True, classes: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = YOLOX(0.33, 0.125, depthwise).build(classes)
    return {NAMING[program](name): torch.randn_like(tensor.float()) for name, tensor in network.state_dict().items()}


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
