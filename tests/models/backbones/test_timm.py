"""Networks of timm as backbones: the contract with a stand-in of it, and some of its own where it is installed."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from otadet.engine import train_step
from otadet.errors import UserError
from otadet.exp import FCOS, YOLOX, TimmBackbone
from otadet.models.backbones import timm as timm_backbones
from otadet.models.backbones.timm import build_timm
from tests.helpers import fake_timm
from tests.helpers.fake_timm import Classifier


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fake_timm.install(monkeypatch)


def scratch(name: str, **options: object) -> timm_backbones.TimmBackbone:
    return TimmBackbone(name, weights=None, **options).build()


@pytest.mark.parametrize("missing", ["timm", "timm.layers"])
def test_a_missing_timm_names_its_extra(missing: str, fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    part = TimmBackbone("plain")  # nothing is imported before it is used
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r'timm is not installed .*: pip install "otadet\[timm\]"') as caught:
        part.build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["plain", "plain.in1k", "last", "strict", "wrapped", "runs", "counts"])
def test_the_last_three_maps_come_with_their_strides(name: str, fake: ModuleType) -> None:
    backbone = scratch(name)
    assert backbone.channels == (16, 32, 64)
    assert backbone.strides == (8, 16, 32)
    for found, channels, stride in zip(backbone(torch.randn(2, 3, 64, 96)), (16, 32, 64), (8, 16, 32), strict=True):
        assert found.shape == (2, channels, 64 // stride, 96 // stride)
        assert found.is_contiguous()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flat", "timm's flat: has no map of stride 8 or 32, as a detector needs, but of 16"),
        ("lying", r"timm's lying: its map of stride 8 is \(1, 8, 40, 24\) for an image of 160 x 96"),
        ("valid", r"timm's valid: its map of stride 8 is \(1, 16, 21, 13\) for an image of 160 x 96"),
        ("fixed", r"timm's fixed: cannot take an image of 160 x 96, .* \(Input height \(160\) doesn't match"),
        ("whole", r"timm's whole: timm has no maps of it: features_only not implemented"),
        ("plian", "timm 0.fake has no network plian; did you mean 'plain'"),
        ("plain.in22k", "timm's plain has no weights in22k; it has in1k, in12k"),
        ("fixed.in1k", "timm's fixed has no weights in1k; it has none"),
    ],
)
def test_what_no_detector_can_use_is_refused_in_one_line(name: str, message: str, fake: ModuleType) -> None:
    with pytest.raises(UserError, match=message) as caught:
        scratch(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "hf-hub:timm/plain", "hf_hub:a", "local-dir:/tmp", "../plain", "a b", "plain.", "é"]
)
def test_a_name_is_none_of_a_place(name: str) -> None:
    with pytest.raises(UserError, match=r"TimmBackbone: name .*: must be that of a network of timm"):
        TimmBackbone(name)


def test_weights_that_there_are_not(fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="weights imagenet: timm has none for bare; give a file, or none"):
        TimmBackbone("bare").build()
    with pytest.raises(UserError, match="no such file"):
        TimmBackbone("plain", weights=str(tmp_path / "none.pth")).build()
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(
        UserError, match=r"other\.pth: not those of a plain: 31 of 31 tensors are missing .*timm's names"
    ):
        TimmBackbone("plain", weights=str(tmp_path / "other.pth")).build()
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(UserError, match=r"bad\.safetensors: (not a file of safetensors|safetensors is not installed)"):
        TimmBackbone("plain", weights=str(tmp_path / "bad.safetensors")).build()

    def offline(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        if pretrained:
            raise ConnectionError("no way out\nof here")
        return fake_timm.create_model(name, **options)

    fake.create_model = offline
    with pytest.raises(UserError, match=r"weights imagenet: those of timm's plain could .*none: no way out$"):
        TimmBackbone("plain").build()


@pytest.mark.parametrize("name", ["plain", "wrapped"])
def test_a_file_of_the_whole_network_fills_the_maps(name: str, fake: ModuleType, tmp_path: Path) -> None:
    whole = Classifier()
    torch.save(whole.state_dict(), tmp_path / "plain.pth")
    backbone = TimmBackbone(name, weights=str(tmp_path / "plain.pth")).build()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.eval()(images)[-1], whole.eval().stages(images))
    inside = "body." if name == "wrapped" else ""
    filled = backbone.state_dict()[f"network.{inside}stages_4.0.weight"]
    torch.testing.assert_close(filled, whole.stages[4][0].weight)


def test_pretrained_norms_stay_as_they_are(fake: ModuleType) -> None:
    backbone = TimmBackbone("plain").build().train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone(torch.randn(2, 3, 64, 64))[-1].sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    trained = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert trained == {f"network.stages_{stage}.0.{what}" for stage in range(5) for what in ("weight", "bias")}
    other = TimmBackbone("plain", frozen_norms=False).build().train()
    other(torch.randn(2, 3, 64, 64))
    assert not torch.equal(other.network.stages_0[1].running_mean, before["network.stages_0.1.running_mean"])


def test_a_copy_and_one_without_weights_are_the_same_network(fake: ModuleType) -> None:
    part = TimmBackbone("plain")
    backbone, plain = part.build(), part.without_weights()
    assert plain.weights is None
    rebuilt = plain.build()
    assert rebuilt.frozen_norms
    rebuilt.load_state_dict(backbone.state_dict())
    images = torch.randn(1, 3, 32, 32)
    for other in (rebuilt, deepcopy(backbone)):
        for one, two in zip(backbone.train()(images), other.train()(images), strict=True):
            assert torch.equal(one, two)


def test_norms_that_are_more_than_norms_are_synchronised_by_timm(
    fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_step, "world_size", lambda: 2)
    detector = YOLOX(0.33, 0.0625, backbone=TimmBackbone("plain", weights=None)).build(2)
    found = train_step._synchronize_norms(detector, torch.device("cuda"))
    assert found.backbone.network.is_synchronized
    assert isinstance(found.backbone.network.stages_0[1], fake_timm.NormAct)
    others = [module for part in (found.neck, found.head) for module in part.modules()]
    assert any(isinstance(module, nn.SyncBatchNorm) for module in others)
    assert not any(type(module) is nn.BatchNorm2d for module in others)


def test_what_has_no_say_in_the_maps_does_not_train(fake: ModuleType) -> None:
    backbone = scratch("plain")
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert frozen == {"network.unused"}


def test_nothing_is_computed_or_kept_where_a_network_is_only_described(fake: ModuleType) -> None:
    with torch.device("meta"):
        detector = FCOS(TimmBackbone("plain", weights=None), channels=8, tower_depth=1).build(2)
    assert {tensor.device.type for tensor in detector.state_dict().values()} == {"meta"}


OWN = {
    "resnet18": (128, 256, 512),
    "efficientnet_lite0": (40, 112, 320),
    "swin_tiny_patch4_window7_224": (192, 384, 768),
}


@pytest.mark.parametrize("name", OWN)
def test_networks_of_timm(name: str) -> None:
    pytest.importorskip("timm")
    backbone = build_timm(name, None, frozen_norms=True).train()
    assert backbone.channels == OWN[name]
    for found, channels, stride in zip(backbone(torch.randn(1, 3, 64, 96)), OWN[name], (8, 16, 32), strict=True):
        assert found.shape == (1, channels, 64 // stride, 96 // stride)


def test_whole_files_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    whole = timm.create_model("resnet18")
    torch.save(whole.state_dict(), tmp_path / "r18.pth")
    save_file(whole.state_dict(), tmp_path / "r18.safetensors")
    for file in ("r18.pth", "r18.safetensors"):
        backbone = TimmBackbone("resnet18", weights=str(tmp_path / file)).build()
        assert torch.equal(backbone.network.layer4[1].conv2.weight, whole.layer4[1].conv2.weight)
    with pytest.raises(UserError, match=r"r18\.pth: not those of a resnet34: \d+ of \d+ tensors"):
        TimmBackbone("resnet34", weights=str(tmp_path / "r18.pth")).build()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tiny_patch16_224", "has no map of stride 8 or 32, as a detector needs, but of 16"),
        ("maxvit_nano_rw_256", "cannot take an image of 160 x 96"),
        ("inception_v3", "its map of stride 8 is"),
    ],
)
def test_networks_of_timm_that_no_detector_can_use(name: str, message: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=f"timm's {name}: {message}"):
        TimmBackbone(name, weights=None).build()


def test_what_timm_says_of_its_weights() -> None:
    pytest.importorskip("timm")
    assert TimmBackbone("resnet18").normalization().mean == (123.675, 116.28, 103.53)
    assert TimmBackbone("tf_efficientnet_lite0").normalization().std == (127.5, 127.5, 127.5)
