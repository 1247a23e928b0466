"""Checkpoints of Detectron2 and of the released OTA: a network with their names, written by itself, finds the same."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import otadet
from otadet.apps.convert import main
from otadet.engine.checkpoint import load_checkpoint
from otadet.errors import UserError
from otadet.exp import load_pipeline
from otadet.exp.stored import stored_exp
from tests.helpers.detectron2_network import MEAN_BGR, Network, cell_anchors, random_network, write_zoo_file

CLASSES = ("--classes", "a,b,c")


@pytest.fixture(scope="module", params=[False, True], ids=["retinanet", "ota"])
def network(request: pytest.FixtureRequest) -> Network:
    return random_network(3, is_ota=request.param)


def pictures() -> Tensor:
    """(1, 3, H, W) RGB, uint8."""
    return torch.randint(0, 256, (1, 3, 96, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_outputs_and_detections_are_the_same(network: Network, tmp_path: Path) -> None:
    main([str(write_zoo_file(network, tmp_path / "model_final.pkl")), str(tmp_path / "ours.pth"), *CLASSES])
    state = load_checkpoint(tmp_path / "ours.pth")
    exp = stored_exp("ours.pth", state, ("model", "input", "postprocess"))
    pipeline = load_pipeline(exp, tmp_path / "ours.pth", state=state)
    rgb = pictures()
    bgr = rgb.flip(1).float()
    with torch.no_grad():
        predictions, anchors = pipeline.model(pipeline.input.normalize(rgb))
    theirs = network(bgr)
    for found, place in ((predictions.logits, 0), (predictions.boxes, 1)):
        assert torch.allclose(
            in_their_order(found, network), torch.cat([level[place] for level in theirs], 1), atol=1e-3
        )
    if network.is_ota:
        iou = torch.cat([level[2] for level in theirs], 1)[..., 0]
        assert torch.allclose(predictions.quality, iou, atol=1e-3)
    boxes, scores, labels = network.detect(bgr)
    (found,) = pipeline.postprocess(predictions, anchors)
    assert len(found.scores) == len(scores) > 20
    assert torch.allclose(found.scores, scores, atol=1e-4)
    assert torch.allclose(found.boxes, boxes, atol=1e-2)
    assert torch.equal(found.labels, labels)
    resize = exp.input.resize
    assert (resize.sizes, resize.max_size) == ((800,), 1333)


def in_their_order(values: Tensor, network: Network) -> Tensor:
    """otadet has all sizes of one aspect ratio first."""
    return values if network.is_ota else values.unflatten(1, (-1, 3, 3)).transpose(2, 3).flatten(1, 3)


def test_a_training_file_and_other_protocols_are_read(network: Network, tmp_path: Path) -> None:
    state = network.state_dict()
    torch.save({"model": state, "optimizer": {"state": {}}, "iteration": 7}, tmp_path / "model_final.pth")
    results = []
    for name in ("model_final.pth", "2.pkl", "5.pkl"):
        if name.endswith("pkl"):
            write_zoo_file(network, tmp_path / name, int(name[0]))
        main([str(tmp_path / name), str(tmp_path / "ours.pth"), *CLASSES, "--from", "detectron2"])
        results.append(load_checkpoint(tmp_path / "ours.pth")["model"])
    for other in results[1:]:
        assert all(torch.equal(other[name], tensor) for name, tensor in results[0].items())


def converted(network: Network, folder: Path, change: Callable[[dict[str, Any]], object], *arguments: str) -> Any:
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    change(state)
    (folder / "model.pkl").write_bytes(pickle.dumps({"model": state}, 4))
    main([str(folder / "model.pkl"), str(folder / "ours.pth"), *(arguments or CLASSES)])
    return load_checkpoint(folder / "ours.pth")


def test_what_the_file_says_of_pixels_and_anchors_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = random_network(3, is_ota=False)
    cells = {f"anchor_generator.cell_anchors.{n}": cell_anchors(8 * 2**n).numpy() for n in range(5)}
    mean = np.array(MEAN_BGR, dtype="f4").reshape(3, 1, 1)
    for std, in_1x1 in ((np.ones((3, 1, 1)), True), (np.array([57.375, 57.12, 58.395]), False)):
        pixels = {"pixel_mean": mean, "pixel_std": std.astype("f4")}
        state = converted(
            network, tmp_path, lambda state, more=(cells | pixels): state.update(more), *CLASSES, "--json"
        )
        said = json.loads(capsys.readouterr().out)
        assert said["unused"] == []
        assert "as its pixel_mean and pixel_std say" in said["notes"][0]
        backbone = state["parts"]["model"]["backbone"]
        assert backbone["stride_in_1x1"] is in_1x1
        assert state["parts"]["input"]["mean"] == pytest.approx(MEAN_BGR[::-1])
        assert state["parts"]["input"]["std"] == pytest.approx(std.flatten()[::-1])
    # Somebody's, for pictures in RGB.
    rgb = {"pixel_mean": mean[::-1].copy(), "pixel_std": np.ones(3, dtype="f4")}
    state = converted(network, tmp_path, lambda state: state.update(rgb))
    stem = network.state_dict()["backbone.bottom_up.stem.conv1.weight"]
    assert torch.equal(state["model"]["backbone.conv1.weight"], stem)
    wrong = {"anchor_generator.cell_anchors.1": cells["anchor_generator.cell_anchors.1"] * 1.1}
    with pytest.raises(UserError, match=r"model\.pkl: its anchor boxes, anchor_generator\.cell_anchors\.1, are others"):
        converted(network, tmp_path, lambda state: state.update(wrong))


def test_statistics_that_are_folded_are_none(tmp_path: Path) -> None:
    def fold(state: dict[str, Any]) -> None:
        for name in [name for name in state if "running_" in name]:
            del state[name]

    state = converted(random_network(3, is_ota=False), tmp_path, fold)["model"]
    assert not state["backbone.layer1.0.bn1.running_mean"].any()
    assert (state["backbone.layer1.0.bn1.running_var"] == 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head.bbox_pred.weight"), r"head\.deltas\.weight is missing"),
        (lambda state: state.pop("backbone.fpn_output3.bias"), r"lacks 1 of .*neck\.output\.0\.bias"),
        (lambda state: state.pop("backbone.bottom_up.res3.1.conv1.weight"), r"has \[2, 1, 2, 2\] blocks"),
        (
            lambda state: state.update({"backbone.bottom_up.res4.0.conv2_offset.weight": np.zeros((27, 8, 3, 3))}),
            "conv2_offset.*no network of otadet has such a layer",
        ),
        (lambda state: state.update({"backbone.fpn_lateral3.norm.weight": np.zeros(64)}), "fpn_lateral3.*no network"),
        (lambda state: state.update({"head.ctrness.weight": np.zeros(64)}), "head.ctrness.*no network"),
        (lambda state: state.update({"pixel_mean": np.zeros(1), "pixel_std": np.zeros(1)}), "in place of 3"),
        (lambda state: state.update({"head.cls_score.weight": np.zeros((10, 64, 3, 3))}), "9"),
        (lambda state: state.update({"head.bbox_pred.weight": np.zeros((4, 64, 3, 3))}), "has 1 anchor boxes per"),
        (lambda state: state.update({"head.cls_score.weight": np.zeros(9)}), r"head\.logits\.weight is \(9,\)"),
        (lambda state: state.update({"head.scales.1.scale": np.ones(1)}), "head.scales are not one number per level"),
        (lambda state: state.update({"head.cls_score.bias": np.full(27, np.nan)}), "holds infinity or NaN"),
    ],
)
def test_what_does_not_fit_is_one_line(change: Callable[[Any], object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"model\.pkl: .*{message}"):
        converted(random_network(3, is_ota=False), tmp_path, change)
    assert not (tmp_path / "ours.pth").exists()


def test_a_pickle_that_calls_something_is_refused(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"model": Command()}))
    with pytest.raises(
        UserError, match=r"model\.pkl: not a pickle of numpy arrays, or damaged: it holds 'posix\.mkdir'"
    ):
        main([str(tmp_path / "model.pkl"), str(tmp_path / "ours.pth")])
    assert not (tmp_path / "made").exists()


def test_what_comes_out_detects_in_pictures(tmp_path: Path) -> None:
    network = random_network(80, is_ota=True)
    main([str(write_zoo_file(network, tmp_path / "ota.pkl")), str(tmp_path / "ours.pth"), "--size", "64"])
    (found,) = otadet.load(tmp_path / "ours.pth", "cpu")([pictures()[0].permute(1, 2, 0).numpy()])
    assert found.vocabulary[:2] == ("person", "bicycle")
