"""torchvision's FCOS and RetinaNets, made otadet's: the same numbers, by torchvision's own networks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection, resnet18
from torchvision.models.detection.image_list import ImageList

import otadet
from otadet.apps.conversions import Wish, torchvision_draft
from otadet.apps.convert import chosen_eps, main
from otadet.convert.coco import COCO_CLASSES, COCO_IDS
from otadet.convert.programs import program_of
from otadet.convert.published import PUBLISHED, norm_eps_of
from otadet.convert.torchvision import named, rows_of
from otadet.data.batch import collate
from otadet.data.pixels import resize
from otadet.data.sample import unlabelled
from otadet.data.transforms import ResizeShortestEdge
from otadet.errors import UserError
from otadet.exp import FCOS, BaseExp, ResNet, RetinaNet
from otadet.exp.load import start_of, without_start
from otadet.exp.words import part_by_word
from otadet.export.check import textured_images
from otadet.inference.pipeline import Pipeline
from otadet.inference.predictor import Predictor
from otadet.models.backbones.norms import FrozenNorm
from tests.helpers.torchvision_detectors import KINDS, converted, random_detector, small_fcos

PARAMETERS = {("fcos", False): 32_269_600, ("retinanet", False): 34_014_999, ("retinanet", True): 38_198_935}
BOX_TOLERANCE = 2e-4
"""Pixels; some ten times the rounding of a coordinate of 200."""
WEIGHTS = {
    "torchvision-fcos-r50": detection.FCOS_ResNet50_FPN_Weights,
    "torchvision-retinanet-r50": detection.RetinaNet_ResNet50_FPN_Weights,
    "torchvision-retinanet-r50-v2": detection.RetinaNet_ResNet50_FPN_V2_Weights,
}


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, Pipeline]:
    theirs = random_detector(request.param)
    return theirs, converted(theirs.state_dict())


@torch.no_grad()
def raw(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """(N, A, 80) logits and (N, A, 4) boxes of a network of torchvision."""
    features = list(network.backbone(images).values())
    outputs = network.head(features)
    (anchors, *_) = network.anchor_generator(ImageList(images, [images.shape[-2:]] * len(images)), features)
    deltas = outputs["bbox_regression"]
    if "bbox_ctrness" in outputs:
        boxes = [network.box_coder.decode(one, anchors) for one in deltas]
    else:
        boxes = [network.box_coder.decode_single(one, anchors) for one in deltas]
    return outputs["cls_logits"][..., COCO_IDS], torch.stack(boxes)


def assert_raw_outputs(theirs: nn.Module, ours: Pipeline) -> None:
    """At a size whose coarse points are closer together than their strides."""
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(1))
    logits, boxes = raw(theirs, images)
    with torch.no_grad():
        predictions, _ = ours.model(images)
    assert logits.std() > 0.01
    torch.testing.assert_close(predictions.logits, logits, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(predictions.boxes, boxes, atol=1e-4, rtol=1e-5)


def picture(height: int, width: int) -> np.ndarray:
    return textured_images(1, height, width, seed=height)[0].permute(1, 2, 0).contiguous().numpy()


@torch.no_grad()
def found_by(network: nn.Module, image: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels of those of torchvision's detections that have a size."""
    (found,) = network([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
    has_size = (found["boxes"][:, 2:] > found["boxes"][:, :2]).all(1)
    labels = torch.tensor([COCO_IDS.index(label) for label in found["labels"].tolist()])
    return found["boxes"][has_size], found["scores"][has_size], labels[has_size]


def test_raw_outputs(pair: tuple[nn.Module, Pipeline]) -> None:
    assert_raw_outputs(*pair)


def test_detections(pair: tuple[nn.Module, Pipeline]) -> None:
    theirs, ours = pair
    image = picture(192, 128)
    boxes, scores, labels = found_by(theirs, image)
    found = Predictor(ours)(image)
    assert len(found) == len(boxes) > 50
    torch.testing.assert_close(found.boxes, boxes, atol=BOX_TOLERANCE, rtol=1e-5)
    torch.testing.assert_close(found.scores, scores, atol=1e-4, rtol=0)
    assert torch.equal(found.labels, labels)


def test_detections_in_an_image_that_is_resized_and_padded(
    pair: tuple[nn.Module, Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision gets the pixels that otadet resized, and pads as otadet does: with whole numbers."""
    theirs, ours = pair
    image = picture(190, 260)
    sample = ours.transform(unlabelled(image), np.random.default_rng(0))
    assert sample.image.shape[:2] == (128, 175)
    padded = collate([sample], ours.input.pad_value, 32).images
    monkeypatch.setattr(theirs.transform, "batch_images", lambda images, size_divisible: ours._normalize(padded))
    boxes, scores, labels = found_by(theirs, sample.image)
    found = Predictor(ours)(image)
    assert len(found) == len(boxes) > 50
    torch.testing.assert_close(found.boxes * torch.tensor(sample.scale * 2), boxes, atol=BOX_TOLERANCE, rtol=1e-5)
    torch.testing.assert_close(found.scores, scores, atol=1e-4, rtol=0)
    assert torch.equal(found.labels, labels)


def test_as_many_parameters(pair: tuple[nn.Module, Pipeline]) -> None:
    """As many as torchvision says of those that are published. All but the newest have frozen batch norms, without."""
    theirs, ours = pair
    is_newest = ours.model.neck.coarse_from == "c5"
    numbers = sum(parameter.numel() for parameter in ours.model.parameters())
    # Eleven rows of the class layer are not kept.
    numbers += 11 * ours.model.anchors_per_location * (256 * 9 + 1)
    norms = sum(2 * module.num_features for module in ours.model.modules() if isinstance(module, nn.BatchNorm2d))
    kind = "fcos" if hasattr(theirs.head.regression_head, "bbox_ctrness") else "retinanet"
    assert numbers - (not is_newest) * norms == PARAMETERS[kind, is_newest]


def test_the_settings_are_torchvisions(pair: tuple[nn.Module, Pipeline]) -> None:
    theirs, ours = pair
    found = ours.postprocess
    assert (found.score_threshold, found.nms_iou) == (theirs.score_thresh, theirs.nms_thresh)
    assert (found.topk_per_level, found.max_detections) == (theirs.topk_candidates, theirs.detections_per_img)
    assert ours.input.mean == pytest.approx([255 * value for value in theirs.transform.image_mean])
    assert ours.input.std == pytest.approx([255 * value for value in theirs.transform.image_std])
    assert ours.size_divisor == theirs.transform.size_divisible


def test_another_eps_of_the_batch_norms() -> None:
    """As torchvision sets it for its first RetinaNet, of which a fine-tuned one keeps it."""
    theirs = small_fcos(91)
    for module in theirs.modules():
        if hasattr(module, "running_var"):
            module.running_var.mul_(1e-4)
            module.weight.data.mul_(1e-2)
            module.eps = 0.0
    assert_raw_outputs(theirs, converted(theirs.state_dict(), norm_eps=0.0))
    with pytest.raises(AssertionError):
        assert_raw_outputs(theirs, converted(theirs.state_dict()))


def test_it_is_known_of_the_published_file_alone(tmp_path: Path) -> None:
    assert norm_eps_of("eeacb38b" + "0" * 56) == 0
    assert norm_eps_of("99b0c9b7" + "0" * 56) is None
    (tmp_path / "other.pth").write_bytes(b"other")
    assert chosen_eps(tmp_path / "other.pth", "torchvision", None) is None
    with pytest.raises(UserError, match="is for networks of torchvision"):
        chosen_eps(tmp_path / "other.pth", "yolox", 0.0)
    for bad in (-1.0, 1.0, math.nan):
        with pytest.raises(UserError, match="at least 0, and below 1"):
            chosen_eps(tmp_path / "other.pth", "torchvision", bad)


def test_names_of_before_torchvision_0_12() -> None:
    """Its first RetinaNet is published with these."""
    with torch.device("meta"):
        state = detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    older = {}
    for name, tensor in state.items():
        for block in range(4):
            name = name.replace(f"_head.conv.{block}.0.", f"_head.conv.{2 * block}.")
        for layer in ("inner_blocks", "layer_blocks"):
            name = name.replace(f"fpn.{layer}.", "fpn.\0").replace(".0.", ".", "\0" in name)
            name = name.replace("\0", f"{layer}.") if "\0" in name else name
        older[name] = tensor
    assert older.keys() != state.keys()
    found, expected = named(older, "old"), named(state, "new")
    assert found.keys() == expected.keys()
    assert all(found[name] is expected[name] for name in found)


@pytest.mark.parametrize("published", WEIGHTS)
def test_published_facts_are_torchvisions(published: str) -> None:
    theirs = WEIGHTS[published].COCO_V1
    one = PUBLISHED[published]
    assert one.address == theirs.url
    assert theirs.meta["num_params"] in PARAMETERS.values()
    assert one.ap == pytest.approx(theirs.meta["_metrics"]["COCO-val2017"]["box_map"] / 100)


def test_classes_are_those_of_the_categories() -> None:
    categories = detection.FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    assert [categories[row] for row in COCO_IDS] == list(COCO_CLASSES)
    assert {categories[row] for row in range(91) if row not in COCO_IDS} == {"__background__", "N/A"}
    rows = rows_of(91, None, "file")
    assert (rows.kept, rows.names) == (COCO_IDS, COCO_CLASSES)


def test_other_numbers_of_classes() -> None:
    assert rows_of(3, None, "file").names == ("class 0", "class 1", "class 2")
    assert rows_of(3, ("a", "b", "c"), "file").kept == (0, 1, 2)
    assert rows_of(3, ("a", "b"), "file").kept == (1, 2)
    assert rows_of(91, tuple(map(str, range(91))), "file").kept == tuple(range(91))
    with pytest.raises(UserError, match="name 2, or 3"):
        rows_of(3, ("a",), "file")


@pytest.mark.parametrize("seed", range(20))
def test_images_are_resized_as_torchvision_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(20, 1500, 2))
    factor = min(800 / min(height, width), 1333 / max(height, width))
    expected = math.floor(float(height) * factor), math.floor(float(width) * factor)
    rule = ResizeShortestEdge((800,), 1333, shrink="linear", rounding="down")
    assert rule.output_size(height, width) == expected


@pytest.mark.parametrize("size", [(61, 90), (128, 190), (200, 130)])
def test_pixels_are_resized_as_torchvision_does(size: tuple[int, int]) -> None:
    image = picture(100, 150)
    theirs = nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].float(), size, mode="bilinear", align_corners=False
    )
    ours = resize(image, *size, "linear").astype(np.float32)
    # Whole numbers, of a few digits in between.
    assert np.abs(ours - theirs[0].permute(1, 2, 0).numpy()).max() < 1.01


def test_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = small_fcos(3)
    torch.save({"model": theirs.state_dict(), "epoch": 3}, tmp_path / "theirs.pth")
    main([str(tmp_path / "theirs.pth"), str(tmp_path / "ours.pth"), "--size", "64", "--classes", "cat,dog", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (said["from"], said["unused"]) == ("torchvision", [])
    assert said["notes"] == ["row 0 of its class layer, the background, was left out"]
    detector = otadet.load(tmp_path / "ours.pth", "cpu")
    image = picture(64, 96)
    found = detector(image)
    assert found.vocabulary == ("cat", "dog")
    with torch.no_grad():
        theirs.head.classification_head.cls_logits.bias[0] = -50
        (expected,) = theirs([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
    assert len(found) > 5
    assert torch.equal(found.labels + 1, expected["labels"])
    torch.testing.assert_close(found.boxes, expected["boxes"], atol=1e-4, rtol=1e-5)


def small(kind: str) -> tuple[nn.Module, FCOS | RetinaNet]:
    """One of torchvision's with a ResNet-18, and the part that has its layout."""
    if kind == "fcos":
        return small_fcos(91), replace(FCOS.torchvision(), backbone=ResNet(18, weights=None))
    theirs = detection.RetinaNet(
        small_fcos(91).backbone, 91, anchor_generator=detection.retinanet._default_anchorgen(), min_size=64
    )
    return theirs, replace(RetinaNet.torchvision(), backbone=ResNet(18, weights=None))


@pytest.mark.parametrize(
    ("kind", "name"), [("fcos", "torchvision-fcos-r50"), ("retinanet", "torchvision-retinanet-r50")]
)
def test_a_part_starts_from_published_weights(kind: str, name: str, tmp_path: Path, monkeypatch) -> None:
    theirs, part = small(kind)
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    monkeypatch.setattr("otadet.exp.start.fetch_published", lambda name: tmp_path / "file.pth")
    started = replace(part, weights=name).build(3)
    first = theirs.head.classification_head.conv[0]
    towers = (first if isinstance(first, nn.Conv2d) else first[0]).weight
    assert torch.equal(started.head.class_tower[0].weight, towers)
    assert torch.equal(started.backbone.layer4[1].conv2.weight, theirs.backbone.body.layer4[1].conv2.weight)
    assert started.head.logits.out_channels == (3 if kind == "fcos" else 27)
    assert not torch.equal(part.build(3).head.class_tower[0].weight, towers)
    # Those of the backbone alone are read from a file that is not there, but not where all are given.
    lacking = replace(part, backbone=ResNet(18, weights="missing.pth"))
    with pytest.raises(UserError, match=r"missing\.pth"):
        lacking.build(3)
    replace(lacking, weights=name).build(3)
    exp = BaseExp()
    exp.model = replace(part, weights=name)
    assert start_of(exp) == name
    assert without_start(exp).model == part
    with pytest.raises(UserError, match=rf"weights {name}: not those .*; choose model {kind}_torchvision, or model\."):
        replace(part, tower_depth=3, weights=name).build(3)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_word_of_a_published_file_is_its_layout(name: str) -> None:
    build = getattr(detection, KINDS[list(WEIGHTS).index(name)])
    with torch.device("meta"):
        theirs = build(weights=None, weights_backbone=None).state_dict()
    part = part_by_word("model", PUBLISHED[name].model)
    assert part == torchvision_draft(named(theirs, name), name, Wish(), "x").exp.model


def test_frozen_norms_and_those_that_train_are_the_same_function() -> None:
    torch.manual_seed(0)
    frozen, training = FrozenNorm(3), nn.BatchNorm2d(3).eval()
    for buffer in (frozen.weight, frozen.bias, frozen.running_mean, frozen.running_var):
        buffer.uniform_(0.5, 1)
    training.load_state_dict(frozen.state_dict(), strict=False)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(training(x), frozen(x.clone()))


def meta_state(build, **settings) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build(weights=None, weights_backbone=None, **settings).state_dict()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: resnet18().state_dict(), "model.backbone.weights file.pth"),
        (lambda: meta_state(detection.fasterrcnn_resnet50_fpn), "a detector of two stages"),
        (lambda: meta_state(detection.ssdlite320_mobilenet_v3_large), "names of none of yolox, .*torchvision"),
    ],
)
def test_other_files_of_torchvision_are_told_apart(state, message: str) -> None:
    with pytest.raises(UserError, match=message):
        program_of(state(), "file.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head.regression_head.bbox_reg.weight"), "not the tensors of an FCOS or a RetinaNet"),
        (
            lambda state: state.update({"head.regression_head.bbox_reg.weight": torch.zeros(12, 256, 3, 3)}),
            "has 3 anchor boxes per location",
        ),
        (lambda state: state.pop("backbone.body.layer3.4.conv1.weight"), r"has \[3, 4, 5, 3\] blocks"),
        (lambda state: state.pop("backbone.body.layer1.0.conv2.weight"), r"layer1\.0\.conv2\.weight is missing"),
        (
            lambda state: state.update({"backbone.body.layer1.0.conv2.weight": torch.zeros(0, 0, 3, 3)}),
            r"layer1\.0\.conv2\.weight is \(0, 0, 3, 3\)",
        ),
        (
            lambda state: state.update({"backbone.body.layer1.0.conv2.weight": torch.zeros(64, 1, 3, 3)}),
            r"backbone\.layer\d\.\d\.conv\d\.weight is",
        ),
        (lambda state: state.update({"head.classification_head.cls_logits.bias": torch.zeros(5)}), r"is \(5,\)"),
        (lambda state: state.pop("backbone.body.bn1.running_var"), r"lacks 1 of .* backbone\.bn1\.running_var"),
    ],
)
def test_what_does_not_fit_is_one_line(change, message: str, tmp_path: Path) -> None:
    state = {
        name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
        for name, tensor in meta_state(detection.retinanet_resnet50_fpn).items()
    }
    change(state)
    with pytest.raises(UserError, match=message) as error:
        converted(state)
    assert "\n" not in str(error.value)
    assert "torchvision.pth" in str(error.value)
