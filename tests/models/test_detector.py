from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from otadet.assigners import ATSSAssigner, FCOSAssigner, OTAAssigner
from otadet.errors import UserError
from otadet.losses import DetectionLoss
from otadet.models import FPN, AnchorGrid, Detector, FCOSHead, build_resnet
from otadet.models.detector import as_detector
from otadet.structures import GroundTruth


def small_detector(num_classes: int = 3) -> Detector:
    backbone = build_resnet(10, None)
    return Detector(backbone, FPN(backbone.channels, backbone.strides, 32), FCOSHead(num_classes, 32, 1, levels=5))


def test_shapes_and_the_grid() -> None:
    predictions, anchors = small_detector()(torch.randn(2, 3, 64, 96))
    assert anchors.level_sizes == ((8, 12), (4, 6), (2, 3), (1, 2), (1, 1))
    assert predictions.logits.shape == (2, 96 + 24 + 6 + 2 + 1, 3)
    assert predictions.boxes.shape == (2, 129, 4)
    assert predictions.quality.shape == (2, 129)
    assert anchors.points[:2].tolist() == [[4, 4], [12, 4]]
    assert anchors.points[96].tolist() == [8, 8]
    assert anchors.boxes[0].tolist() == [-28, -28, 36, 36]
    assert anchors.strides[[0, 96, 120, 126, 128]].tolist() == [8, 16, 32, 64, 128]


class Plain(nn.Sequential):
    """A backbone of timm's contract: a strided convolution per map, the first from the image."""

    def __init__(self, *factors: int) -> None:
        super().__init__(*(nn.Conv2d(8 if row else 3, 8, k, k) for row, k in enumerate(factors)))
        self.channels = (8,) * len(factors)
        self.strides = tuple(math.prod(factors[: row + 1]) for row in range(len(factors)))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = [images]
        for convolution in self:
            maps.append(convolution(maps[-1]))
        return maps[1:]


@pytest.mark.parametrize(
    ("factors", "strides", "divisor"),
    [((4, 2), (4, 8, 16, 32), 8), ((8, 2, 2, 2), (8, 16, 32, 64, 128, 256), 64), ((5, 3), (5, 15, 30, 60), 15)],
)
def test_a_network_of_other_strides_says_them_and_trains(factors, strides, divisor) -> None:
    backbone = Plain(*factors)
    neck = FPN(backbone.channels, backbone.strides, 8)
    detector = Detector(backbone, neck, FCOSHead(2, 8, 1, levels=len(neck.strides)))
    assert (detector.strides, detector.size_divisor) == (strides, divisor)
    height, width = 4 * divisor, 7 * divisor
    predictions, anchors = detector(torch.rand(2, 3, height, width))
    assert anchors.level_sizes == tuple((-(-height // stride), -(-width // stride)) for stride in strides)
    assert predictions.logits.shape[1] == len(anchors.points)
    assert tuple(dict.fromkeys(anchors.strides.tolist())) == strides
    truths = [GroundTruth(torch.tensor([[1.0, 2.0, 3.0 * divisor, 2.0 * divisor]]), torch.tensor([1]))] * 2
    for assigner in (OTAAssigner(), FCOSAssigner(), ATSSAssigner()):
        assert (assigner(predictions, anchors, truths).gt_index >= 0).any(1).all()
    losses = DetectionLoss(OTAAssigner())(predictions, anchors, truths)
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_a_network_of_ones_own_says_the_same_of_itself() -> None:
    network = nn.Sequential()
    with pytest.raises(UserError, match=r"Sequential: .* have `strides`"):
        as_detector(network)
    network.strides = (4, 8)
    with pytest.raises(UserError, match=r"Sequential: a network has a `size_divisor`.* this one has None"):
        as_detector(network)
    network.size_divisor = 8
    assert as_detector(network) is network


def test_strides_that_are_missing_or_not_those_of_the_maps_are_an_error() -> None:
    head = FCOSHead(2, 8, 1, levels=4)
    with pytest.raises(UserError, match="Sequential: a backbone, a neck and a network have `strides`"):
        Detector(nn.Sequential(), FPN((8, 8), (4, 8), 8), head)
    with pytest.raises(UserError, match="Sequential: a backbone, a neck and a network have `strides`"):
        Detector(Plain(4, 2), nn.Sequential(), head)
    with pytest.raises(ValueError, match="2 maps in in_channels, but 3 in in_strides"):
        FPN((8, 8), (4, 8, 16), 8)
    with pytest.raises(UserError, match=r"the strides \(8, 16, 32, 64\) of FPN .* for an image of 32 x 64"):
        Detector(Plain(4, 2), FPN((8, 8), (8, 16), 8), head)(torch.zeros(1, 3, 32, 64))
    with pytest.raises(UserError, match="the image's sides multiples of 8"):
        Detector(Plain(4, 2), FPN((8, 8), (4, 8), 8), head)(torch.zeros(1, 3, 33, 64))


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5])
def test_the_points_are_offset_within_their_cells(offset: float) -> None:
    anchors = AnchorGrid((8, 16), offset=offset)([torch.empty(1, 1, 2, 3), torch.empty(1, 1, 1, 2)])
    cells = torch.tensor([[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8], [0, 0], [16, 0]])
    torch.testing.assert_close(anchors.points, cells + offset * anchors.strides[:, None])
    torch.testing.assert_close((anchors.boxes[:, :2] + anchors.boxes[:, 2:]) / 2, anchors.points)


@pytest.mark.parametrize("offset", [-0.1, 1.0, float("nan")])
def test_a_point_outside_of_its_cell_is_an_error(offset: float) -> None:
    with pytest.raises(ValueError, match="offset"):
        AnchorGrid((8, 16), offset=offset)


@pytest.mark.parametrize("coarse_from", ["p5", "c5"])
def test_p6_and_p7_are_made_from_p5_or_c5_as_in_torchvision(coarse_from: str) -> None:
    torch.manual_seed(0)
    ours = FPN((8, 16, 32), (8, 16, 32), 16, coarse_from)
    theirs = FeaturePyramidNetwork([8, 16, 32], 16, LastLevelP6P7(16 if coarse_from == "p5" else 32, 16))
    for block, lateral in zip(theirs.inner_blocks, ours.lateral, strict=True):
        block[0].load_state_dict(lateral.state_dict())
    for block, output in zip(theirs.layer_blocks, ours.output, strict=True):
        block[0].load_state_dict(output.state_dict())
    theirs.extra_blocks.p6.load_state_dict(ours.p6.state_dict())
    theirs.extra_blocks.p7.load_state_dict(ours.p7.state_dict())
    features = [torch.randn(2, 8 << level, 16 >> level, 24 >> level) for level in range(3)]
    expected = theirs({str(level): feature for level, feature in enumerate(features)})
    for found, level in zip(ours(features), expected.values(), strict=True):
        torch.testing.assert_close(found, level)


def test_another_source_of_p6_is_an_error() -> None:
    with pytest.raises(ValueError, match="coarse_from 'p4': choose 'p5' or 'c5'"):
        FPN((8, 16, 32), (8, 16, 32), 16, "p4")


def test_the_same_in_training_and_evaluation_apart_from_the_norms() -> None:
    model = small_detector()
    train, evaluation = model.train()(torch.randn(1, 3, 64, 64)), model.eval()(torch.randn(1, 3, 64, 64))
    assert [type(part) for part in train] == [type(part) for part in evaluation]


def test_prior_probability_and_the_learned_scale() -> None:
    model = small_detector().eval()
    predictions, anchors = model(torch.randn(1, 3, 64, 64))
    assert predictions.logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)
    sides = predictions.boxes[..., 2:] - anchors.points
    with torch.no_grad():
        model.head.scales[0] = 3.0
    images = torch.randn(1, 3, 64, 64)
    tripled = model(images)[0].boxes[..., 2:] - anchors.points
    model.head.scales.data.fill_(1.0)
    sides = model(images)[0].boxes[..., 2:] - anchors.points
    torch.testing.assert_close(tripled[:, :64], 3 * sides[:, :64])
    torch.testing.assert_close(tripled[:, 64:], sides[:, 64:])
    assert (sides >= 0).all()


def test_from_scratch_trains_everything() -> None:
    assert all(parameter.requires_grad for parameter in build_resnet(18, None).parameters())


@pytest.mark.parametrize(("depth", "factor"), [(10, 1), (50, 4)])
def test_the_width_scales_every_stage(depth: int, factor: int) -> None:
    network = build_resnet(depth, None, width=24)
    assert network.channels == (48 * factor, 96 * factor, 192 * factor)
    features = network(torch.zeros(2, 3, 64, 64))
    assert [tuple(feature.shape) for feature in features] == [
        (2, channels, 64 // stride, 64 // stride)
        for channels, stride in zip(network.channels, network.strides, strict=True)
    ]
    assert network.conv1.weight.shape == (24, 3, 7, 7)


def test_pretrained_weights_have_one_width(tmp_path) -> None:
    with pytest.raises(UserError, match=r"width 32: .* those of width 64; set backbone\.weights none"):
        build_resnet(18, "imagenet", width=32)


def test_pretrained_from_a_file_is_frozen_as_in_the_paper(tmp_path) -> None:
    original = resnet18()
    torch.save(original.state_dict(), tmp_path / "r18.pth")
    network = build_resnet(18, str(tmp_path / "r18.pth"))
    assert torch.equal(network.layer3[0].conv1.weight, original.layer3[0].conv1.weight)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in network.modules())
    trained = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {"layer2", "layer3", "layer4"}
    images = torch.randn(1, 3, 64, 64)
    expected = original.eval()
    c4 = expected.layer3(
        expected.layer2(expected.layer1(expected.maxpool(expected.relu(expected.bn1(expected.conv1(images))))))
    )
    torch.testing.assert_close(network(images)[1], c4, rtol=1e-4, atol=1e-5)


def test_wrong_weights_say_what_to_do(tmp_path) -> None:
    with pytest.raises(UserError, match="no such file"):
        build_resnet(18, str(tmp_path / "missing.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match=r"text\.pth"):
        build_resnet(18, str(tmp_path / "text.pth"))
    torch.save(resnet18().state_dict(), tmp_path / "r18.pth")
    with pytest.raises(UserError, match="not those of a resnet50"):
        build_resnet(50, str(tmp_path / "r18.pth"))
    with pytest.raises(UserError, match="choose one of 10, 18, 26, 34, 50, 101"):
        build_resnet(20, None)
