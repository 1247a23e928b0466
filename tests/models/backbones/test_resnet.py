"""ResNets and ResNeXts beside torchvision's."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights
from torchvision.models.resnet import Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from otadet.errors import UserError
from otadet.exp import ResNet
from otadet.models import build_resnet
from otadet.models.backbones.resnet import IMAGENET, check_imagenet, torchvision_name, width_per_group_of
from otadet.models.deformable import DeformableConv2d

LAYOUTS = {
    "resnet18": (18, 1, 64),
    "resnet34": (34, 1, 64),
    "resnet50": (50, 1, 64),
    "resnet101": (101, 1, 64),
    "resnext50_32x4d": (50, 32, 4),
    "resnext101_32x8d": (101, 32, 8),
    "resnext101_64x4d": (101, 64, 4),
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", IMAGENET)
def test_parameters_and_operations_are_those_that_torchvision_publishes(name: str) -> None:
    depth, groups, width_per_group = LAYOUTS[name]
    with torch.device("meta"):
        network = build_resnet(depth, None, groups=groups, width_per_group=width_per_group).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, 224, 224))
    published = get_model_weights(name).IMAGENET1K_V1.meta
    classifier = (network.channels[-1] + 1) * 1000
    assert count(network) == published["num_params"] - classifier
    multiplied = counter.get_total_flops() / 2 + network.channels[-1] * 1000
    assert multiplied / 1e9 == pytest.approx(published["_ops"], abs=6e-4)
    assert torchvision_name(depth, groups, width_per_group) == name


@pytest.mark.parametrize(("depth", "billions"), [(50, 3.8), (101, 7.6)])
def test_strides_in_the_1x1_make_the_original_network(depth: int, billions: float) -> None:
    """He et al. (2016), Tab. 1. torchvision's need 4.1 and 7.8."""
    with torch.device("meta"):
        network = build_resnet(depth, None, stride_in_1x1=True).eval()
        with FlopCounterMode(display=False) as counter:
            maps = network(torch.zeros(1, 3, 224, 224))
        plain = build_resnet(depth, None)
    assert counter.get_total_flops() / 2e9 == pytest.approx(billions, abs=0.07)
    assert [feature.shape[-1] for feature in maps] == [28, 14, 7]
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in plain.state_dict().items()
    }


def test_a_deformable_stage_has_27_more_channels_at_each_3x3() -> None:
    with torch.device("meta"):
        plain = build_resnet(101, None, groups=64, width_per_group=4)
        deformable = build_resnet(101, None, groups=64, width_per_group=4, deformable_stages=(3, 4))
    added = sum(blocks * 27 * (9 * channels + 1) for blocks, channels in ((23, 1024), (3, 2048)))
    assert count(deformable) - count(plain) == added == 7_216_830
    found = {name for name, module in deformable.named_modules() if isinstance(module, DeformableConv2d)}
    assert found == {f"layer{stage}.{block}.conv2" for stage, blocks in ((3, 23), (4, 3)) for block in range(blocks)}


def resnext26() -> TorchvisionResNet:
    torch.manual_seed(0)
    return TorchvisionResNet(Bottleneck, [2, 2, 2, 2], groups=32, width_per_group=4)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(resnext26().state_dict(), tmp_path / "resnext26.pth")
    return tmp_path / "resnext26.pth"


@torch.no_grad()
def test_a_resnext_of_torchvision_loads_and_computes_the_same(weights: Path) -> None:
    network = ResNet(26, groups=32, width_per_group=4, weights=str(weights)).build()
    theirs = resnext26().eval()
    value = torch.randn(1, 3, 70, 90, generator=torch.Generator().manual_seed(1))
    found = network(value)
    assert [tuple(feature.shape[1:]) for feature in found] == [(512, 9, 12), (1024, 5, 6), (2048, 3, 3)]
    value = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(value))))
    for stage, feature in zip((theirs.layer2, theirs.layer3, theirs.layer4), found, strict=True):
        value = stage(theirs.layer1(value) if stage is theirs.layer2 else value)
        torch.testing.assert_close(feature, value, rtol=1e-3, atol=1e-4)


def caffe2(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """By Caffe2's names, for pictures in BGR, written by itself."""
    found = {}
    for name, tensor in state.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        layer, _, kind = name.rpartition(".")
        kinds = {
            "weight": "bn_gamma",
            "bias": "bn_beta",
            "running_mean": "bn_running_mean",
            "running_var": "bn_running_var",
        }
        if layer == "conv1":
            found["conv1_w"] = tensor.flip(1)
        elif layer == "bn1":
            found[f"res_conv1_{kinds[kind]}"] = tensor
        else:
            stage, block, *rest = layer.removeprefix("layer").split(".")
            is_norm = rest[-1] == "1" or rest[0].startswith("bn")
            branch = "1" if rest[0] == "downsample" else f"2{'abc'[int(rest[0][-1]) - 1]}"
            found[f"res{int(stage) + 1}_{block}_branch{branch}_{kinds[kind] if is_norm else 'w'}"] = tensor
    return {name: tensor.numpy() for name, tensor in found.items()}


@torch.no_grad()
def test_weights_of_caffe2_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = TorchvisionResNet(Bottleneck, [2, 2, 2, 2]).eval()
    for stage in (theirs.layer2, theirs.layer3, theirs.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    bias = torch.randn(64)
    blobs = {**caffe2(theirs.state_dict()), "conv1_b": bias.numpy(), "fc1000_w": np.zeros((2, 2)), "lr": np.float32(1)}
    (tmp_path / "R-26.pkl").write_bytes(pickle.dumps({"model": blobs, "__author__": "Caffe2"}))
    weights = str(tmp_path / "R-26.pkl")
    network = ResNet(26, weights=weights, stride_in_1x1=True).build()
    value = torch.randn(1, 3, 64, 96)
    c2 = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(value) + bias[:, None, None]))))
    torch.testing.assert_close(network(value)[0], theirs.layer2(c2), rtol=1e-3, atol=1e-4)
    assert not network.conv1.weight.requires_grad
    with pytest.raises(UserError, match=r"R-26\.pkl: .* set stride_in_1x1 true, and input\.std 1,1,1"):
        ResNet(26, weights=weights).build()
    # Of a ResNeXt they are in the 3x3.
    (tmp_path / "X-26.pkl").write_bytes(pickle.dumps({"blobs": caffe2(resnext26().state_dict())}))
    settings = {"groups": 32, "width_per_group": 4, "weights": str(tmp_path / "X-26.pkl")}
    assert torch.equal(ResNet(26, **settings).build().layer4[1].conv3.weight, resnext26().layer4[1].conv3.weight)
    with pytest.raises(UserError, match="set stride_in_1x1 false"):
        ResNet(26, **settings, stride_in_1x1=True).build()


def test_plain_weights_start_a_deformable_network(weights: Path) -> None:
    part = ResNet(26, groups=32, width_per_group=4, weights=str(weights), deformable_stages=(3, 4))
    network, saved = part.build(), resnext26().state_dict()
    own = network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in saved.items() if name in own)
    added = set(own) - set(saved)
    assert len(added) == 2 * 4
    assert not any(own[name].any() for name in added)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {name for name in own if name.startswith(("layer3", "layer4")) and "conv" in name} <= trained
    network(torch.randn(1, 3, 64, 64))[2].sum().backward()
    assert all(network.get_parameter(name).grad.isfinite().all() for name in trained if name.startswith("layer4"))


def test_weights_of_another_layout_are_an_error(weights: Path) -> None:
    with pytest.raises(UserError, match=r"resnext26\.pth: not those of a resnext26_4x32d"):
        ResNet(26, groups=4, width_per_group=32, weights=str(weights)).build()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"depth": 18, "groups": 32},
            "groups 32, .* depth 18 .* choose a depth of 26 or 50 or 101",
        ),
        ({"depth": 18, "stride_in_1x1": True}, "depth 18 has no 1x1 convolutions"),
        ({"depth": 50, "width_per_group": 4, "width": 15}, "width 15: .* width_per_group 4; set a width of 16 or more"),
        ({"depth": 50, "deformable_stages": (1,)}, "deformable_stages"),
        ({"depth": 50, "deformable_stages": (3, 5)}, "deformable_stages"),
        ({"depth": 101, "groups": 32, "width_per_group": 4, "weights": "imagenet"}, "none for a resnext101_32x4d"),
        (
            {"depth": 26, "weights": "imagenet"},
            "torchvision has none for a resnet26, but for resnet18",
        ),
    ],
)
def test_what_there_is_not(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ResNet(**{"weights": None, **settings})


def test_every_name_of_torchvisions_is_known_to_it() -> None:
    for name in IMAGENET:
        check_imagenet(name)
        assert get_model_weights(name).IMAGENET1K_V1.url.startswith("https://")


@pytest.mark.parametrize("depth", [10, 26])
def test_a_narrow_deformable_network_from_scratch(depth: int) -> None:
    network = build_resnet(depth, None, 16, deformable_stages=(2, 4))
    for feature, stride in zip(network(torch.randn(2, 3, 64, 96)), network.strides, strict=True):
        assert feature.shape[2:] == (64 // stride, 96 // stride)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    "settings",
    [(18, 64, 1, 64), (50, 64, 1, 64), (50, 64, 32, 4), (50, 64, 1, 128), (10, 16, 1, 64), (26, 32, 8, 16)],
)
def test_groups_and_their_width_are_known_by_a_tensor(settings: tuple[int, int, int, int]) -> None:
    depth, width, groups, width_per_group = settings
    with torch.device("meta"):
        network = build_resnet(depth, None, width, groups=groups, width_per_group=width_per_group)
    block = network.layer1[0]
    first = block.conv2 if isinstance(block, Bottleneck) else block.conv1

    assert width_per_group_of(first.weight, width) == (groups, width_per_group)
