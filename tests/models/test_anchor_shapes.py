"""Anchor boxes of several shapes per location, as other programs make them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from otadet.assigners import Assigner, ATSSAssigner, MaxIoUAssigner, OTAAssigner, SimOTAAssigner
from otadet.boxes import area, centers
from otadet.errors import UserError
from otadet.exp import FocalGIoU, FreeAnchor, ResNet, RetinaNet
from otadet.models import AnchorGrid
from otadet.structures import GroundTruth

STRIDES = (8, 16, 32, 64, 128)
SCALES = tuple(4 * 2 ** (third / 3) for third in range(3))
RATIOS = (0.5, 1.0, 2.0)
NINE = RetinaNet(
    ResNet(10, width=8, weights=None),
    channels=8,
    tower_depth=1,
    quality=None,
    anchor_scales=SCALES,
    aspect_ratios=RATIOS,
)


def maps(height: int, width: int) -> list[torch.Tensor]:
    return [torch.empty(1, 1, -(-height // stride), -(-width // stride)) for stride in STRIDES]


def test_whole_pixels_are_torchvisions() -> None:
    """Of 416 x 608 pixels the levels of stride 64 and 128 have points that are 59 x 60 and 104 x 121 pixels apart."""
    sizes = tuple(tuple(int(side * 2 ** (third / 3)) for third in range(3)) for side in (32, 64, 128, 256, 512))
    theirs = AnchorGenerator(sizes, (RATIOS,) * 5)
    features = maps(416, 608)
    (expected,) = theirs(ImageList(torch.empty(1, 3, 416, 608), [(416, 608)]), features)
    grid = AnchorGrid(STRIDES, SCALES, 0.0, aspect_ratios=RATIOS, whole_pixels=True)
    anchors = grid(features, (416, 608))
    assert anchors.per_location == 9
    assert anchors.spacing == ((8, 8), (16, 16), (32, 32), (59, 60), (104, 121))
    assert torch.equal(anchors.boxes, expected)
    assert torch.equal(anchors.points, centers(expected))


def test_exact_shapes_have_the_area_of_their_square_and_their_ratio() -> None:
    anchors = AnchorGrid(STRIDES, SCALES, 0.0, aspect_ratios=RATIOS)(maps(64, 96))
    boxes = anchors.boxes.view(-1, 3, 3, 4)
    sides = boxes[..., 2:] - boxes[..., :2]
    squares = anchors.strides.view(-1, 3, 3) * torch.tensor(SCALES)
    torch.testing.assert_close(area(boxes), squares**2)
    torch.testing.assert_close(sides[..., 1] / sides[..., 0], torch.tensor(RATIOS)[:, None].expand(len(sides), 3, 3))
    torch.testing.assert_close(centers(anchors.boxes), anchors.points)
    assert anchors.spacing is None
    assert sum(anchors.level_counts) == len(anchors.points)


def test_one_square_is_as_it_always_was() -> None:
    anchors = AnchorGrid(STRIDES, 8.0, 0.3)(maps(64, 96))
    reach = anchors.strides[:, None] * 4
    assert torch.equal(anchors.boxes, torch.cat((anchors.points - reach, anchors.points + reach), -1))


def test_each_anchor_has_channels_of_its_own() -> None:
    torch.manual_seed(0)
    model = NINE.build(2).eval()
    for layer in (model.head.logits, model.head.deltas):
        nn.init.zeros_(layer.weight)
    nn.init.zeros_(model.head.deltas.bias)
    model.head.logits.bias.data = torch.arange(18.0)
    predictions, anchors = model(torch.randn(1, 3, 64, 96))
    assert torch.equal(predictions.logits[0].view(-1, 18), torch.arange(18.0).expand(len(anchors.points) // 9, 18))
    torch.testing.assert_close(predictions.boxes[0], anchors.boxes)


def test_deltas_are_divided_by_their_weights() -> None:
    weighted = RetinaNet(ResNet(10, width=8, weights=None), channels=8, tower_depth=1, delta_weights=(10, 10, 5, 5))
    model = weighted.build(2).eval()
    nn.init.zeros_(model.head.deltas.weight)
    model.head.deltas.bias.data = torch.tensor([10.0, 0, 5 * math.log(2), 0])
    predictions, anchors = model(torch.randn(1, 3, 32, 32))
    # One side to the right, twice as wide.
    side = 8 * anchors.strides
    expected = anchors.boxes + torch.stack((side / 2, 0 * side, side * 3 / 2, 0 * side), 1)
    torch.testing.assert_close(predictions.boxes[0], expected)


@pytest.mark.parametrize(
    "assigner", [MaxIoUAssigner(), ATSSAssigner(), OTAAssigner(), SimOTAAssigner(), None], ids=lambda one: str(one)[:6]
)
@pytest.mark.parametrize("whole_pixels", [True, False])
def test_a_step_of_training(assigner: Assigner | None, whole_pixels: bool) -> None:
    torch.manual_seed(0)
    model = replace(NINE, whole_pixels=whole_pixels).build(2)
    predictions, anchors = model(torch.randn(2, 3, 160, 160))
    truths = [
        GroundTruth(torch.tensor([[8.0, 8, 40, 40], [60.0, 20, 140, 150]]), torch.tensor([0, 1])),
        GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ]
    loss = (FreeAnchor() if assigner is None else FocalGIoU()).build(assigner, None)
    losses = loss(predictions, anchors, truths)
    sum(losses.values()).backward()
    assert all(value.isfinite() and value > 0 for value in losses.values())
    assert model.head.deltas.weight.grad.abs().sum() > 0
    assert model.head.logits.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchor_scales": ()}, "needs at least one"),
        ({"anchor_scales": (0.0,)}, "anchor_scales"),
        ({"aspect_ratios": (-1.0,)}, "aspect_ratios"),
        ({"anchor_scales": tuple(range(1, 30)), "aspect_ratios": RATIOS}, "87 anchor boxes per location"),
        ({"delta_weights": (1.0, 1.0)}, "delta_weights"),
        ({"anchor_scales": (0.01,), "whole_pixels": True}, "less than two pixels"),
    ],
)
def test_shapes_that_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RetinaNet(**changes).without_weights().build(2)


def test_the_points_need_the_size_of_the_image() -> None:
    with pytest.raises(ValueError, match="image_size"):
        AnchorGrid(STRIDES, whole_pixels=True)(maps(64, 96))
