"""Candidate tables against brute force over all anchors."""

from __future__ import annotations

import pytest
import torch

from otadet.assigners.base import PaddedTruth, pad_truths
from otadet.assigners.ops.candidates import find_candidates, inside, nearest, window
from otadet.structures import GroundTruth
from tests.helpers.candidate_masks import as_mask, brute_force_distances
from tests.helpers.dense_ota import window_prior
from tests.helpers.problems import make_anchors, make_truth


def truth_of(*boxes: list[float]) -> PaddedTruth:
    return pad_truths([GroundTruth(torch.tensor(boxes), torch.zeros(len(boxes), dtype=torch.int64))], 1)


def random_truths(generator: torch.Generator, height: int, width: int) -> list[GroundTruth]:
    """Two images; centres on points, on borders of cells and outside the image among the boxes of the first."""
    special = torch.tensor(
        [
            [0.0, 0.0, 8.0, 8.0],
            [8.0, 8.0, 24.0, 24.0],
            [-60.0, -60.0, 4.0, 4.0],
            [width - 1.0, height - 1.0, width, height],
        ]
    )
    first = make_truth(generator, 20, 1, height, width)
    boxes = torch.cat((first.boxes, special))
    return [
        GroundTruth(boxes, boxes.new_zeros(len(boxes), dtype=torch.int64)),
        make_truth(generator, 7, 1, height, width),
    ]


@pytest.mark.parametrize("radius", [0.4, 1.0, 1.5, 2.5, 3.5])
@pytest.mark.parametrize("size", [(256, 320), (100, 70)], ids=str)
def test_window_is_brute_force(radius: float, size: tuple[int, int], generator: torch.Generator) -> None:
    anchors, truths = make_anchors(*size), random_truths(generator, *size)
    found = as_mask(window(anchors, pad_truths(truths, 1), radius), len(anchors.points))
    for image, truth in enumerate(truths):
        expected = window_prior(anchors.points.double(), anchors.strides.double(), truth.boxes.double(), radius)
        assert torch.equal(found[image, : len(truth.boxes)], expected)
        assert not found[image, len(truth.boxes) :].any()


def test_window_beyond_the_box(generator: torch.Generator) -> None:
    anchors, (truth, _) = make_anchors(256, 320), random_truths(generator, 256, 320)
    found = window(anchors, pad_truths([truth], 1), 1.5, inside=False)
    center = (truth.boxes[:, :2] + truth.boxes[:, 2:]).double() / 2
    expected = (anchors.points.double() - center[:, None]).abs().amax(-1) < 1.5 * anchors.strides.double()
    assert torch.equal(as_mask(found, len(anchors.points))[0], expected)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("size", [(256, 320), (8, 600), (600, 16), (64, 64)], ids=str)
def test_nearest_is_brute_force(side: int, size: tuple[int, int], generator: torch.Generator) -> None:
    height, width = size
    anchors = make_anchors(height, width)
    x, y = torch.tensor([0.0, 3.0, width / 2, width / 2 + 4, width]), torch.tensor([0.0, height / 2, height - 1.0])
    center = torch.cat(
        (torch.cartesian_prod(x, y), torch.rand(30, 2, generator=generator) * torch.tensor([width, height]))
    )
    boxes = torch.cat((center - 5, center + 5), 1)
    found = as_mask(nearest(anchors, truth_of(*boxes.tolist()), side), len(anchors.points))[0]
    distance = torch.cdist((boxes[:, :2] + boxes[:, 2:]).double() / 2, anchors.points.double())
    sizes = [h * w for h, w in anchors.level_sizes]
    pieces = zip(
        found.split(sizes, 1), distance.split(sizes, 1), brute_force_distances(anchors, boxes, side), strict=True
    )
    for mask, of_all, expected in pieces:
        assert (mask.sum(1) == expected.shape[1]).all()
        # By distance, not by index: points equally far are equally good.
        torch.testing.assert_close(
            of_all.masked_fill(~mask, torch.inf).sort(1).values[:, : expected.shape[1]], expected
        )


def test_inside_is_brute_force(generator: torch.Generator) -> None:
    anchors, (truth, _) = make_anchors(256, 320), random_truths(generator, 256, 320)
    found = as_mask(inside(anchors, pad_truths([truth], 1)), len(anchors.points))[0]
    expected = window_prior(anchors.points.double(), anchors.strides.double(), truth.boxes.double(), 1e6)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("prior", ["window", "none"])
def test_only_a_box_without_candidates_takes_the_nearest(prior: str) -> None:
    anchors = make_anchors(256, 320)
    large, between = [20.0, 20.0, 120.0, 120.0], [101.0, 101.0, 102.0, 102.0]
    found = as_mask(find_candidates(anchors, truth_of(large, between), prior, 1.5), len(anchors.points))[0]
    alone = as_mask(find_candidates(anchors, truth_of(large), prior, 1.5), len(anchors.points))[0]
    closest = as_mask(nearest(anchors, truth_of(between), 3), len(anchors.points))[0]
    assert torch.equal(found, torch.cat((alone, closest)))


@pytest.mark.parametrize("prior", ["window", "nearest", "none"])
def test_padding_has_no_candidates(prior: str, generator: torch.Generator) -> None:
    truths = [make_truth(generator, boxes, 1, 256, 320) for boxes in (5, 2, 0)]
    candidates = find_candidates(make_anchors(256, 320), pad_truths(truths, 1), prior, 2.5)
    assert candidates.valid.any(-1).tolist() == [[True] * 5, [True] * 2 + [False] * 3, [False] * 5]
