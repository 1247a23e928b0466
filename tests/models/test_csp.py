"""The networks of YOLOX's layouts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from otadet.exp.words import YOLOX_LAYOUTS
from otadet.models.backbones.csp_darknet import SpaceToDepth
from otadet.models.csp import SpatialPyramid
from otadet.models.necks.pafpn import PAFPN

PUBLISHED = {"yolox_nano": 0.91, "yolox_tiny": 5.06, "yolox_s": 8.97, "yolox_m": 25.3, "yolox_l": 54.2}
"""Million parameters, for COCO's 80 classes (YOLOX's model zoo)."""


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("word", PUBLISHED)
def test_a_layout_has_as_many_parameters_as_published(word: str) -> None:
    with torch.device("meta"):
        number = parameters(YOLOX_LAYOUTS[word]().build(80)) / 1e6
    assert abs(number - PUBLISHED[word]) < (0.05 if PUBLISHED[word] > 20 else 0.006)


def test_a_network_predicts_at_every_point_of_three_levels() -> None:
    network = YOLOX_LAYOUTS["yolox_nano"]().build(7).eval()
    with torch.no_grad():
        predictions, anchors = network(torch.rand(2, 3, 64, 96))
    assert network.strides == (8, 16, 32)
    assert network.size_divisor == 32
    assert anchors.level_sizes == ((8, 12), (4, 6), (2, 3))
    assert predictions.logits.shape == (2, 126, 7)
    assert predictions.boxes.shape == (2, 126, 4)
    assert predictions.quality is not None
    assert predictions.quality.shape == (2, 126)


def test_the_stem_has_the_quarters_in_yolox_order() -> None:
    """Top left, bottom left, top right, bottom right, three channels each."""
    stem = SpaceToDepth(4)
    seen: list[torch.Tensor] = []
    stem.block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.arange(4.0).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    stem.eval()(image)
    assert seen[0].flatten().tolist() == [0, 0, 0, 2, 2, 2, 1, 1, 1, 3, 3, 3]


def test_maxima_of_maxima_are_those_of_the_larger_windows() -> None:
    pyramid = SpatialPyramid(4)
    seen: list[torch.Tensor] = []
    pyramid.merge.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pyramid.eval()(torch.randn(1, 4, 17, 15, generator=torch.Generator().manual_seed(0)))
    reduced, *others = seen[0].split(2, 1)
    for window, found in zip((5, 9, 13), others, strict=True):
        assert torch.equal(found, F.max_pool2d(reduced, window, 1, window // 2))


def test_a_neck_wants_strides_that_double() -> None:
    with pytest.raises(ValueError, match="twice"):
        PAFPN((8, 16), (8, 32), 0.33)


def test_a_box_is_decoded_from_the_corner_of_its_cell_as_published() -> None:
    """`(x + column) stride` and `exp(w) stride`, whatever the point of the anchor is."""
    head = YOLOX_LAYOUTS["yolox_nano"]().build(1).head
    network = YOLOX_LAYOUTS["yolox_nano"]().build(1)
    _, anchors = network.eval()(torch.rand(1, 3, 32, 64))
    offsets = torch.randn(1, len(anchors.points), 4, generator=torch.Generator().manual_seed(1))
    boxes = head._decoded(offsets, anchors)
    columns = (anchors.points / anchors.strides[:, None]).floor()
    centers = (offsets[0, :, :2] + columns) * anchors.strides[:, None]
    sides = offsets[0, :, 2:].exp() * anchors.strides[:, None]
    assert torch.allclose(boxes[0, :, :2], centers - sides / 2, atol=1e-3)
    assert torch.allclose(boxes[0, :, 2:], centers + sides / 2, atol=1e-3)


def test_an_absurd_output_is_a_finite_box() -> None:
    network = YOLOX_LAYOUTS["yolox_nano"]().build(1)
    _, anchors = network.eval()(torch.rand(1, 3, 32, 32))
    boxes = network.head._decoded(torch.full((1, len(anchors.points), 4), 1e4), anchors)
    assert boxes.isfinite().all()
