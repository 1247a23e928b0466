"""Rules look at the points that they are given, wherever these lie in their cells."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from otadet.assigners import Assigner, FCOSAssigner, OTAAssigner, SimOTAAssigner, assigner_names, named_assigner
from otadet.assigners.base import pad_truths
from otadet.assigners.ops.candidates import nearest, window
from otadet.models import AnchorGrid
from otadet.structures import Anchors, GroundTruth, Predictions
from tests.helpers.candidate_masks import as_mask, brute_force_distances
from tests.helpers.problems import STRIDES

RULES = {name: named_assigner(name) for name in assigner_names()} | {
    "fcos": FCOSAssigner(ranges=((-1.0, torch.inf),)),
    "fcos without centre sampling": FCOSAssigner(radius=None, ranges=((-1.0, torch.inf),)),
    "simota of yolox": SimOTAAssigner.yolox(),
    "ota, nearest points": OTAAssigner(prior="nearest"),
    "ota, no prior": OTAAssigner(prior="none"),
}
SIZE, STRIDE = (20, 24), 16


def grid(offset: float) -> Anchors:
    return AnchorGrid((STRIDE,), scale=4.0, offset=offset)([torch.empty(1, 1, *SIZE)])


def on_quarters(values: Tensor) -> Tensor:
    """To quarters of a pixel, so that a translation by 8 pixels is exact."""
    return (values * 4).round() / 4


@pytest.mark.parametrize("assigner", RULES.values(), ids=RULES.keys())
def test_a_translated_scene_is_assigned_alike(assigner: Assigner, generator: torch.Generator) -> None:
    """Corners and middles of cells are the same points for boxes that lie half a stride further."""
    corners, middles = grid(0.0), grid(0.5)
    center = torch.rand(12, 2, generator=generator) * torch.tensor([SIZE[1], SIZE[0]]) * STRIDE
    side = 20 + 100 * torch.rand(12, 2, generator=generator)
    boxes = on_quarters(torch.cat((center - side / 2, center + side / 2), 1))
    labels = torch.randint(3, (12,), generator=generator)
    count = len(corners.points)
    logits, quality = torch.randn(1, count, 3, generator=generator), torch.randn(1, count, generator=generator)
    predicted = boxes[torch.cdist(corners.points, center).argmin(1)] + 8 * torch.randn(count, 4, generator=generator)
    predicted = on_quarters(predicted)[None]
    found = assigner(Predictions(logits, predicted, quality), corners, [GroundTruth(boxes, labels)])
    moved = assigner(
        Predictions(logits, predicted + STRIDE / 2, quality), middles, [GroundTruth(boxes + STRIDE / 2, labels)]
    )
    assert (found.gt_index >= 0).sum() > 5
    assert torch.equal(found.gt_index, moved.gt_index)
    assert torch.equal(found.ambiguous, moved.ambiguous)


@pytest.mark.parametrize("size", [(256, 320), (250, 70), (8, 600)], ids=str)
@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_candidates_on_all_levels_are_brute_force(
    offset: float, size: tuple[int, int], generator: torch.Generator
) -> None:
    """With centres up to the image's edge, which lies a whole stride beyond the last corner."""
    height, width = size
    anchors = AnchorGrid(STRIDES, offset=offset)([torch.empty(1, 1, -(-height // s), -(-width // s)) for s in STRIDES])
    center = torch.rand(20, 2, generator=generator) * torch.tensor([width, height])
    edges = torch.tensor([[0.0, 0.0], [width, height], [width, 0.0], [0.0, height], [width / 2, height]])
    center = on_quarters(torch.cat((center, edges)))
    boxes = torch.cat((center - 20, center + 20), 1)
    truth = pad_truths([GroundTruth(boxes, torch.zeros(len(boxes), dtype=torch.int64))], 1)
    distance = torch.cdist(center.double(), anchors.points.double())
    for side in (1, 3, 5):
        found = as_mask(nearest(anchors, truth, side), len(anchors.points))[0]
        counts = [rows * columns for rows, columns in anchors.level_sizes]
        expected = brute_force_distances(anchors, boxes, side)
        for mask, part, best in zip(found.split(counts, 1), distance.split(counts, 1), expected, strict=True):
            chosen = torch.where(mask, part, torch.inf).sort(1).values[:, : best.shape[1]]
            torch.testing.assert_close(chosen, best)
    inside = ((anchors.points - boxes[:, None, :2]).amin(-1) > 0.01) & (
        (boxes[:, None, 2:] - anchors.points).amin(-1) > 0.01
    )
    near = (anchors.points - center[:, None]).abs().amax(-1) < 2.5 * anchors.strides
    assert torch.equal(as_mask(window(anchors, truth, 2.5), len(anchors.points))[0], inside & near)
