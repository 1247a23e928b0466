"""Classifiers of torchvision as backbones, beside the whole networks."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn

from otadet.errors import UserError
from otadet.exp import TorchvisionBackbone
from otadet.models.backbones import torchvision as backbones
from otadet.models.backbones import weights
from otadet.models.backbones.foreign import on_meta
from otadet.models.backbones.torchvision import classifiers, imagenet, torchvision_normalization

STAGES = {
    "mobilenet_v3_small": {"features.3": 24, "features.8": 48, "features": 576},
    "resnet18": {"layer2": 128, "layer3": 256, "layer4": 512},
}
"""Classifier -> the modules whose outputs are its C3, C4, C5, and their channels."""


def whole(name: str) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None).eval()


@pytest.mark.parametrize("name", STAGES)
@torch.no_grad()
def test_the_maps_are_those_of_the_whole_network(name: str, tmp_path: Path) -> None:
    network, seen = whole(name), {}
    torch.save(network.state_dict(), tmp_path / "whole.pth")
    for stage in STAGES[name]:
        # What comes after may write into them.
        network.get_submodule(stage).register_forward_hook(
            lambda module, inputs, output, stage=stage: seen.update({stage: output.clone()})
        )
    images = torch.randn(1, 3, 64, 96)
    network(images)
    backbone = TorchvisionBackbone(name, weights=str(tmp_path / "whole.pth")).build()
    assert backbone.channels == tuple(STAGES[name].values())
    for copied in (backbone, deepcopy(backbone)):
        for stride, stage, found in zip((8, 16, 32), STAGES[name], copied.eval()(images), strict=True):
            assert found.shape[2:] == (64 // stride, 96 // stride)
            torch.testing.assert_close(found, seen[stage])
    assert sum(tensor.numel() for tensor in backbone.state_dict().values()) < sum(
        tensor.numel() for tensor in network.state_dict().values()
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_b_16", r"cannot take an image of 160 x 96, .* \(Wrong image height! Expected 224 but got 160!\)"),
        ("maxvit_t", "cannot take an image of 160 x 96"),
        ("alexnet", "has no map of stride 8 or 16 or 32, a cell for every so many pixels exactly"),
        ("squeezenet1_1", "has no map of stride 8 or 16 or 32"),
        ("inception_v3", "has no map of stride 8 or 16 or 32"),
    ],
)
def test_what_no_detector_can_use_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"torchvision's {name}: {message}") as caught:
        TorchvisionBackbone(name, weights=None).build()
    assert "\n" not in str(caught.value)


def test_names_are_torchvisions() -> None:
    with pytest.raises(UserError, match=r"TorchvisionBackbone: name 'mobilnet_v3_large': .*did you mean 'mobilenet_v3"):
        TorchvisionBackbone("mobilnet_v3_large")
    assert {"mobilenet_v3_large", "resnet18", "vit_b_16"} <= set(classifiers())
    assert not {"fcos_resnet50_fpn", "quantized_resnet18", "r3d_18"} & set(classifiers())


def test_every_classifier_has_weights_whose_normalization_is_known() -> None:
    found = {name: torchvision_normalization(name).mean[0] for name in classifiers()}
    assert found["mobilenet_v3_large"] == 123.675
    assert {name for name, mean in found.items() if mean == 127.5} >= {"efficientnet_v2_l", "googlenet"}
    assert set(found.values()) == {123.675, 127.5}
    assert imagenet("resnet50").name == "IMAGENET1K_V1"
    assert imagenet("regnet_y_128gf").name == "IMAGENET1K_SWAG_E2E_V1"


def test_a_googlenet_does_not_change_its_input_by_itself() -> None:
    """Its weights want pixels of -1 to 1; torchvision's own network makes these of ImageNet's where it has weights."""
    assert not backbones._classifier("googlenet").transform_input
    own = TorchvisionBackbone("googlenet").normalization()
    pixels, usual = torch.rand(3) * 255, imagenet("googlenet").transforms()
    normal = (pixels / 255 - torch.tensor(usual.mean)) / torch.tensor(usual.std)
    expected = torchvision.models.GoogLeNet._transform_input(
        SimpleNamespace(transform_input=True), normal.view(1, 3, 1, 1)
    )
    torch.testing.assert_close((pixels - torch.tensor(own.mean)) / torch.tensor(own.std), expected.flatten())


@pytest.mark.parametrize(
    "name",
    [
        "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock4.denselayer16.conv2.weight",
        "features.norm0.bias",
    ],
)
def test_older_names_of_a_densenet_are_read(name: str) -> None:
    older = name.replace("norm1", "norm.1").replace("conv2", "conv.2")
    assert backbones.renamed(older) == backbones.renamed(name) == name


def test_what_computes_while_it_is_built_needs_no_memory_either() -> None:
    network = on_meta(lambda: torchvision.models.get_model("regnet_y_128gf", weights=None))
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}
    assert not network.training
    with torch.device("meta"):
        backbone = TorchvisionBackbone("regnet_y_400mf", weights=None).build()
    assert {tensor.device.type for tensor in backbone.state_dict().values()} == {"meta"}


def test_weights_are_fetched_once_from_torchvisions_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, asked = whole("mnasnet0_5"), []
    torch.save(network.state_dict(), tmp_path / "fetched.pth")

    def fetch(address: str, path: Path, digits: str) -> Path:
        asked.append((address, digits))
        return tmp_path / "fetched.pth"

    monkeypatch.setattr(weights, "fetch", fetch)
    backbone = TorchvisionBackbone("mnasnet0_5").build()
    assert asked == [("https://download.pytorch.org/models/mnasnet0.5_top1_67.823-3ffadce67e.pth", "3ffadce67e")]
    assert all(
        torch.equal(tensor, network.state_dict()[name]) for name, tensor in backbone.network.state_dict().items()
    )
    assert all(re.fullmatch(r".*-[0-9a-f]{8,}\.pth", imagenet(name).url) for name in classifiers())


def test_a_download_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object) -> Path:
        raise UserError("no way out")

    monkeypatch.setattr(weights, "fetch", offline)
    with pytest.raises(UserError, match="weights imagenet: no way out; or give a local file"):
        TorchvisionBackbone("mnasnet0_5").build()
