from __future__ import annotations

import pytest
import torch

from otadet.models import FPN, Detector, RetinaNetHead, build_resnet


def small_detector(**settings) -> Detector:
    backbone = build_resnet(10, None)
    head = RetinaNetHead(3, 32, 1, **settings)
    return Detector(backbone, FPN(backbone.channels, backbone.strides, 32), head).eval()


def test_shapes_and_the_prior_probability() -> None:
    predictions, anchors = small_detector()(torch.randn(2, 3, 64, 96))
    assert predictions.logits.shape == (2, 129, 3)
    assert predictions.boxes.shape == (2, 129, 4)
    assert predictions.quality.shape == (2, 129)
    assert predictions.logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)
    assert len(anchors.boxes) == 129


def test_deltas_of_zero_are_the_anchor_boxes() -> None:
    model = small_detector()
    torch.nn.init.zeros_(model.head.deltas.weight)
    predictions, anchors = model(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(predictions.boxes[0], anchors.boxes)


def test_the_quality_branch_is_optional() -> None:
    model = small_detector(quality=False)
    assert model(torch.randn(1, 3, 64, 64))[0].quality is None
    assert not any("quality" in name for name, _ in model.named_parameters())
