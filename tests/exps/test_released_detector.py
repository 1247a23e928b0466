"""`exps/ota_fcos_r50.py` is the released detector: beside a network that is written here from its description alone.

A ResNet-50's C3 to C5; an FPN with P6 and P7 made from P5; two towers of four 3x3 convolutions, each with GroupNorm in
32 groups and a ReLU, shared by the levels; distances relu(scale x) stride from the points x stride; sqrt(class x IoU).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from otadet.exp import BaseExp, load_exp
from otadet.models import Detector

CLASSES, CHANNELS = 6, 256
TOWER_NORMS = (1, 4, 7, 10)
"""Places of the norms in a tower of convolution, norm and ReLU."""


class Released(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = resnet50()
        self.one_by_one = nn.ModuleList(nn.Conv2d(width, CHANNELS, 1) for width in (512, 1024, 2048))
        self.three_by_three = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1) for _ in range(3))
        self.p6, self.p7 = (nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1) for _ in range(2))
        self.towers = nn.ModuleList(
            nn.Sequential(*(layer for _ in range(4) for layer in self.tower_layer())) for _ in range(2)
        )
        self.classes, self.sides, self.iou = (nn.Conv2d(CHANNELS, width, 3, 1, 1) for width in (CLASSES, 4, 1))
        self.scale = nn.Parameter(torch.ones(5))

    @staticmethod
    def tower_layer() -> tuple[nn.Module, ...]:
        return nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1), nn.GroupNorm(32, CHANNELS), nn.ReLU()

    def pyramid(self, images: Tensor) -> list[Tensor]:
        body = self.body
        c2 = body.layer1(body.maxpool(body.relu(body.bn1(body.conv1(images)))))
        c3 = body.layer2(c2)
        c4 = body.layer3(c3)
        c5 = body.layer4(c4)
        inner5 = self.one_by_one[2](c5)
        inner4 = self.one_by_one[1](c4) + inner5.repeat_interleave(2, 2).repeat_interleave(2, 3)
        inner3 = self.one_by_one[0](c3) + inner4.repeat_interleave(2, 2).repeat_interleave(2, 3)
        p3, p4, p5 = (conv(inner) for conv, inner in zip(self.three_by_three, (inner3, inner4, inner5), strict=True))
        p6 = self.p6(p5)
        return [p3, p4, p5, p6, self.p7(p6.relu())]

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each level: logits (N, h w, C), boxes (N, h w, 4) in pixels, IoU logits (N, h w)."""
        outputs = []
        for level, feature in enumerate(self.pyramid(images)):
            stride = 8 * 2**level
            of_class, of_box = (tower(feature) for tower in self.towers)
            left, top, right, bottom = ((self.scale[level] * self.sides(of_box)).relu() * stride).unbind(1)
            height, width = feature.shape[-2:]
            x = torch.arange(width).expand(height, width) * stride
            y = torch.arange(height)[:, None].expand(height, width) * stride
            boxes = torch.stack((x - left, y - top, x + right, y + bottom), -1)
            logits = self.classes(of_class).movedim(1, -1)
            outputs.append((logits.flatten(1, 2), boxes.flatten(1, 2), self.iou(of_box).flatten(1)))
        return outputs


def detections_of(levels: list[tuple[Tensor, Tensor, Tensor]], image: int) -> list[tuple[float, int, list[float]]]:
    """Score, class, box: the 1000 best of each level above 0.05 that no better of the class overlaps by over 0.6."""
    found = []
    for logits, boxes, iou in levels:
        scores = (logits[image].sigmoid() * iou[image, :, None].sigmoid()).sqrt()
        best = scores.flatten().argsort(descending=True)[:1000]
        found += [
            (scores.flatten()[pair].item(), int(pair) % CLASSES, boxes[image, int(pair) // CLASSES].tolist())
            for pair in best
            if scores.flatten()[pair] > 0.05
        ]
    kept = []
    for score, label, box in sorted(found, reverse=True):
        if all(label != other or overlap(box, other_box) <= 0.6 for _, other, other_box in kept):
            kept.append((score, label, box))
    return kept[:100]


def overlap(a: list[float], b: list[float]) -> float:
    width, height = (min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis]) for axis in (0, 1))
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def with_weights_of(detector: Detector) -> Released:
    network = Released()
    network.body.load_state_dict(detector.backbone.state_dict(), strict=False)
    neck, head = detector.neck, detector.head
    pairs = [
        *zip(network.one_by_one, neck.lateral, strict=True),
        *zip(network.three_by_three, neck.output, strict=True),
        (network.p6, neck.p6),
        (network.p7, neck.p7),
        (network.towers[0], head.class_tower),
        (network.towers[1], head.box_tower),
        (network.classes, head.logits),
        (network.sides, head.distances),
        (network.iou, head.quality),
    ]
    for own, theirs in pairs:
        own.load_state_dict(theirs.state_dict())
    network.scale.data.copy_(head.scales)
    return network.eval()


def released() -> BaseExp:
    exp = load_exp(Path(__file__).parents[2] / "exps" / "ota_fcos_r50.py")
    exp.override(["backbone.weights", "none"])
    return exp


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    detector = released().build_model(CLASSES).eval()
    for name, parameter in detector.named_parameters():
        if parameter.ndim <= 1:
            nn.init.normal_(parameter, mean=1.0 if name.endswith(("weight", "scales")) else 0.0, std=0.3)
    for branch, std in ((detector.head.logits, 0.05), (detector.head.distances, 0.02), (detector.head.quality, 0.05)):
        nn.init.normal_(branch.weight, std=std)
    detector.head.logits.bias.data.fill_(-6.5)
    detector.head.distances.bias.data.fill_(2.0)
    return detector


@torch.no_grad()
def test_the_whole_detector_has_the_outputs_of_the_description(detector: Detector) -> None:
    network = with_weights_of(detector)
    images = torch.randn(2, 3, 64, 96)
    levels = network(images)
    predictions, anchors = detector(images)
    for place, found in enumerate((predictions.logits, predictions.boxes, predictions.quality)):
        expected = torch.cat([level[place] for level in levels], 1)
        assert expected.std(0).mean() > 0.01  # the images have a say
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for image, found in enumerate(released().postprocess(predictions, anchors)):
        expected = detections_of(levels, image)
        assert 20 < len(expected) < 100
        assert found.labels.tolist() == [label for _, label, _ in expected]
        torch.testing.assert_close(found.scores, torch.tensor([score for score, _, _ in expected]))
        torch.testing.assert_close(found.boxes, torch.tensor([box for _, _, box in expected]), rtol=1e-4, atol=1e-3)


def test_parameters_by_name(monkeypatch) -> None:
    """Norms do not decay, biases and scales do; the pretrained stem, first stage and norms are frozen."""
    monkeypatch.setattr("otadet.models.backbones.resnet._download_imagenet", lambda name: resnet50().state_dict())
    exp = released()
    exp.override(["backbone.weights", "imagenet"])
    model = exp.build_model(CLASSES)
    optimizer = exp.build_optimizer(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay = {
        names[id(parameter)]: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    norms = {
        f"head.{tower}.{place}.{kind}"
        for tower in ("class_tower", "box_tower")
        for place in TOWER_NORMS
        for kind in ("weight", "bias")
    }
    convolutions = {
        f"{name}.{kind}"
        for name in (
            *(f"neck.{part}.{level}" for part in ("lateral", "output") for level in range(3)),
            *("neck.p6", "neck.p7", "head.logits", "head.distances", "head.quality"),
            *(f"head.{tower}.{place}" for tower in ("class_tower", "box_tower") for place in (0, 3, 6, 9)),
        )
        for kind in ("weight", "bias")
    }
    stages = {
        f"backbone.layer{stage}.{block}.conv{number}.weight"
        for stage, blocks in ((2, 4), (3, 6), (4, 3))
        for block in range(blocks)
        for number in (1, 2, 3)
    } | {f"backbone.layer{stage}.0.downsample.0.weight" for stage in (2, 3, 4)}
    assert {name for name, value in decay.items() if value == 0} == norms
    assert {name for name, value in decay.items() if value == 1e-4} == convolutions | stages | {"head.scales"}
    frozen = set(names.values()) - decay.keys()
    assert frozen
    assert all(name.startswith(("backbone.conv1.", "backbone.layer1.")) for name in frozen)
    assert type(optimizer) is torch.optim.SGD
    assert {(group["lr"], group["momentum"]) for group in optimizer.param_groups} == {(0.01, 0.9)}
