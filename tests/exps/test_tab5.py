"""The rows of Tab. 5: their backbones, schedule and sizes, and that a file can be made of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from otadet.data.transforms import ResizeShortestEdge
from otadet.exp import BaseExp, load_exp
from otadet.exp.plain import from_plain, to_plain
from otadet.export import export_onnx
from otadet.models.deformable import DeformableConv2d

SMALL = [
    "depth",
    "26",
    "width",
    "16",
    "backbone.weights",
    "none",
    "channels",
    "32",
    "tower_depth",
    "1",
    "input.resize",
    "64/96",
]
MODELS = {
    "ota_fcos_r101_2x": (51_289_498, ()),
    "ota_fcos_x101_2x": (90_195_610, ()),
    "ota_fcos_x101_dcn_2x": (97_536_910, (3, 4)),
}
"""Name -> parameters with COCO's 80 classes, and the stages with deformable convolutions."""


def experiment(name: str, *overrides: str) -> BaseExp:
    exp = load_exp(name)
    exp.override(overrides)
    return exp


@pytest.mark.parametrize("name", MODELS)
def test_the_network(name: str) -> None:
    parameters, stages = MODELS[name]
    exp = experiment(name, "backbone.weights", "none")
    with torch.device("meta"):
        model = exp.build_model(80)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    found = {name for name, module in model.named_modules() if isinstance(module, DeformableConv2d)}
    expected = {f"backbone.layer{stage}.{block}.conv2" for stage in stages for block in range({3: 23, 4: 3}[stage])}
    # The towers' convolutions are at 0, 3, 6 and 9.
    assert found == expected | ({"head.class_tower.9", "head.box_tower.9"} if stages else set())
    assert from_plain(to_plain(exp.model), "model") == exp.model


@pytest.mark.parametrize("name", MODELS)
def test_twice_as_long_with_sizes_from_640_to_800(name: str) -> None:
    exp = experiment(name)
    schedule = exp.build_schedule(118_287)
    assert exp.iterations(118_287) == 180_000
    rates = [schedule(step) for step in (1000, 119_999, 120_000, 159_999, 160_000, 179_999)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    drawn = exp.build_train_transform().transforms[0]
    assert isinstance(drawn, ResizeShortestEdge)
    assert (min(drawn.sizes), max(drawn.sizes), len(set(drawn.sizes)), drawn.max_size) == (640, 800, 161, 1333)
    assert exp.input.resize == ResizeShortestEdge((800,), 1333)


def test_thirty_epochs_have_the_same_shares() -> None:
    exp = experiment("ota_fcos_r50", "length", "30epochs", "schedule.at", "0.6667,0.8889")
    schedule = exp.build_schedule(15_000)
    assert exp.iterations(15_000) == 28_125
    rates = np.array([schedule(step) for step in range(1000, 28_125)])
    assert (np.flatnonzero(np.diff(rates)) + 1001).tolist() == [18_751, 25_000]  # 20 and 26.7 epochs


def lively(model: nn.Module) -> nn.Module:
    """With offsets of some cells, and scores and boxes of all sizes."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, DeformableConv2d):
            nn.init.normal_(module.sampling_weight, std=0.1)
            nn.init.normal_(module.sampling_bias, std=2.0)
    for branch in (model.head.logits, model.head.distances, model.head.quality):
        nn.init.normal_(branch.weight, std=0.3)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_file_computes_the_same(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    exp = experiment(name, *SMALL)
    pipeline = exp.build_pipeline(lively(exp.build_model(3)), ("a", "b", "c"))
    lines: list[str] = []
    export_onnx(pipeline, tmp_path / "model.onnx", report=lines.append)
    assert sum("compared with PyTorch" in line for line in lines) == 1
    import onnx

    kinds = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    # One per block of the two stages, and per level in two towers; DeformConv is of opset 19, which few programs have.
    assert kinds.count("GridSample") == (4 + 2 * 5 if MODELS[name][1] else 0)
    assert "DeformConv" not in kinds
