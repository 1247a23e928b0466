"""Networks of other packages as parts: set by words, kept by checkpoints, trained, exported, fed what they know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from otadet.assigners import OTAAssigner
from otadet.engine.checkpoint import load_checkpoint, save_checkpoint
from otadet.errors import UserError
from otadet.exp import (
    FCOS,
    YOLOX,
    BaseExp,
    BCEIoU,
    FocalGIoU,
    InputSpec,
    Letterbox,
    ResNet,
    RetinaNet,
    TimmBackbone,
    TorchvisionBackbone,
    load_detector,
    yolox_input,
)
from otadet.exp.fine_tune import fine_tune_exp
from otadet.exp.load import unread
from otadet.exp.plain import from_plain, to_plain
from otadet.exp.pretrained import input_advice
from otadet.exp.stored import stored_exp
from otadet.export import export_onnx
from otadet.export.check import compare, textured_images
from otadet.export.metadata import OnnxMetadata
from otadet.models.backbones import torchvision as torchvision_backbones
from otadet.structures import GroundTruth
from tests.helpers import fake_timm

SMALL = {"channels": 8, "tower_depth": 1}
HALF = {"mean": (127.5,) * 3, "std": (127.5,) * 3}
FAMILIES = {
    "fcos": lambda backbone: (FCOS(backbone, **SMALL), FocalGIoU(), (8, 16, 32, 64, 128)),
    "retinanet": lambda backbone: (RetinaNet(backbone, **SMALL), FocalGIoU(), (8, 16, 32, 64, 128)),
    "yolox": lambda backbone: (YOLOX(0.33, 0.0625, backbone=backbone), BCEIoU(), (8, 16, 32)),
}


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_timm.install(monkeypatch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.backbone timm", TimmBackbone()),
        (
            "model.backbone.name plain.in1k model.backbone timm model.backbone.weights none",
            TimmBackbone("plain.in1k", weights=None),
        ),
        ("backbone torchvision backbone.name vgg11", TorchvisionBackbone("vgg11")),
        ("model yolox_nano model.backbone timm frozen_norms false", TimmBackbone(frozen_norms=False)),
    ],
)
def test_words(text: str, expected: object) -> None:
    exp = BaseExp()
    exp.loss = BCEIoU() if "yolox" in text else exp.loss
    exp.override([*text.split(), *(["loss", "bce_iou"] if "yolox" in text else [])])
    assert exp.model.backbone == expected
    assert from_plain(to_plain(exp.model), "model") == exp.model


def test_wrong_words_name_the_right_ones() -> None:
    for text, message in {
        "model.backbone tim": "no such backbone; .*timm.*did you mean 'timm'",
        "model.backbone.name plain": "has no such field; .*, and model.backbone timm or model.backbone torchvision has",
        "model.backbone torchvision backbone.name vgg12": "model.backbone.name 'vgg12'.*did you mean 'vgg1",
        "model.backbone timm backbone.name hf-hub:a/b": "must be that of a network of timm",
        "model.backbone timm model.backbone.depth 3": "has no such field; it has name, weights, frozen_norms",
    }.items():
        with pytest.raises(UserError, match=message):
            BaseExp().override(text.split())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_ota_changes_the_network(family: str) -> None:
    torch.manual_seed(0)
    model, loss, strides = FAMILIES[family](TimmBackbone("plain", weights=None))
    detector = model.build(2).train()
    predictions, anchors = detector(torch.randn(2, 3, 64, 96))
    assert detector.strides == strides
    assert detector.size_divisor == 32
    assert anchors.level_sizes == tuple((-(-64 // stride), -(-96 // stride)) for stride in strides)
    assert predictions.logits.shape[1] == len(anchors.points)
    truths = [
        GroundTruth(torch.tensor([[8.0, 8.0, 40.0, 56.0]]), torch.tensor([1])),
        GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ]
    terms = loss.build(OTAAssigner(), model.quality)(predictions, anchors, truths)
    sum(terms.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in detector.parameters() if parameter.grad is not None)
    assert detector.backbone.network.stages_0[0].weight.grad.abs().sum() > 0


def experiment(backbone: object, **options: object) -> BaseExp:
    exp = BaseExp()
    exp.model = FCOS(backbone, **SMALL)
    exp.input = InputSpec(Letterbox((64, 96)), **options)
    return exp


def checkpoint_of(exp: BaseExp, path: Path) -> nn.Module:
    model = exp.build_model(2).eval()
    content = {"model": model.state_dict(), "ema": None, "class_names": ["a", "b"]}
    save_checkpoint(path, {**content, "parts": exp.describe(), "experiment": exp.about()})
    return model


@pytest.mark.parametrize("word", ["timm", "torchvision"])
@torch.no_grad()
def test_a_checkpoint_alone_rebuilds_its_network_without_a_download(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = []

    def download(name: str) -> dict[str, torch.Tensor]:
        downloads.append(name)
        return torchvision_backbones.get_model(name, weights=None).state_dict()

    def create(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        downloads.extend([name] if pretrained else [])
        return fake_timm.create_model(name, pretrained, **options)

    monkeypatch.setattr(torchvision_backbones, "_download", download)
    monkeypatch.setattr("timm.create_model", create)
    part = TimmBackbone("plain") if word == "timm" else TorchvisionBackbone("resnet18")
    model = checkpoint_of(experiment(part, **HALF), tmp_path / "best.pth")
    assert model.backbone.frozen_norms
    assert downloads == [part.name]
    state = load_checkpoint(tmp_path / "best.pth")
    exp = stored_exp("best.pth", state, ("model", "input", "postprocess"))
    assert exp.model.backbone == part
    rebuilt, _ = load_detector(exp, tmp_path / "best.pth")
    images = torch.randn(1, 3, 64, 96)
    assert torch.equal(rebuilt(images)[0].logits, model(images)[0].logits)
    tuned = fine_tune_exp("best.pth", state)
    assert unread(tuned).build_model(3).backbone.frozen_norms
    assert downloads == [part.name]


def test_a_resnet_that_is_fine_tuned_is_frozen_without_its_first_weights(tmp_path: Path) -> None:
    torch.save(ResNet(10, weights=None).build().state_dict(), tmp_path / "r10.pth")
    part = ResNet(10, weights=str(tmp_path / "r10.pth"))
    checkpoint_of(experiment(part), tmp_path / "best.pth")
    (tmp_path / "r10.pth").unlink()
    tuned = fine_tune_exp("best.pth", load_checkpoint(tmp_path / "best.pth"))
    assert unread(tuned).model.backbone == replace(part, weights=None, frozen=True)
    backbone = unread(tuned).build_model(3).backbone
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    assert {name.split(".")[0] for name, one in backbone.named_parameters() if one.requires_grad} == {
        *("layer2", "layer3", "layer4")
    }
    assert all(one.requires_grad for one in ResNet(10, weights=None, frozen=False).build().parameters())


@pytest.mark.parametrize(
    ("backbone", "spec", "advice"),
    [
        (ResNet(50), InputSpec(), ""),
        (ResNet(50, weights=None), yolox_input(640), ""),
        (TimmBackbone("plain"), InputSpec(**HALF), ""),
        (TimmBackbone("plain", weights="file.pth"), InputSpec(), ""),
        (TorchvisionBackbone("efficientnet_v2_l"), InputSpec(**HALF), ""),
        (TorchvisionBackbone(), InputSpec(mean=(120.0, 110.0, 100.0), std=(60.0, 60.0, 60.0)), "unless this is meant"),
    ],
)
def test_an_input_that_fits(backbone: object, spec: InputSpec, advice: str) -> None:
    exp = BaseExp()
    exp.model, exp.input = FCOS(backbone), spec
    assert advice in input_advice(exp)
    assert bool(advice) == bool(input_advice(exp))


def test_an_input_that_the_weights_have_never_seen_is_an_error_that_says_what_to_set() -> None:
    exp = BaseExp()
    exp.model = FCOS(TimmBackbone("plain"))
    with pytest.raises(UserError, match=r"set (input\.mean 127\.5,127\.5,127\.5 input\.std 127\.5,.*), or") as caught:
        input_advice(exp)
    words = str(caught.value).partition("; set ")[2].partition(", or ")[0]
    exp.override(words.split())
    assert input_advice(exp) == ""
    exp.model, exp.input = YOLOX(backbone=ResNet(18)), yolox_input(640)
    with pytest.raises(UserError, match=r"input\.mean 0,0,0 input\.std 1,1,1: .*set input\.mean 123\.675,116"):
        input_advice(exp)
    exp.model = YOLOX()
    assert input_advice(exp) == ""


def test_an_exported_file_equals_torch(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    exp = experiment(TorchvisionBackbone("resnet18", weights=None))
    pipeline = exp.build_pipeline(exp.build_model(2).eval(), ("a", "b"))
    path = tmp_path / "model.onnx"
    export_onnx(pipeline, path)
    model = onnx.load(path)
    metadata = OnnxMetadata.from_strings({entry.key: entry.value for entry in model.metadata_props}, path)
    found = compare(model, pipeline.model, metadata, [exp.input.normalize(textured_images(1, 64, 96, seed=7))])[0]
    assert found.boxes < 1e-2
    assert found.scores < 1e-4
