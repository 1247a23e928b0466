"""The numbers of a data set, by hand and beside the dense way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from otadet.boxes import pairwise_iou
from otadet.data.check.crowding import NMS_IOUS, THRESHOLDS, crowding, overlapping
from otadet.data.check.statistics import level_shares, resize_factors, share_below, shortest_edge_for, statistics
from otadet.data.transforms import Letterbox, ResizeShortestEdge
from tests.helpers.few_annotations import annotations


def crowd(seed: int, images: int, boxes: int):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (boxes, 2))
    made = np.concatenate((corners, corners + rng.uniform(1, 40, (boxes, 2))), axis=1)
    return made, rng.integers(0, images, boxes), rng.integers(0, 2, boxes)


def test_counts_by_hand():
    found = statistics(
        annotations(
            boxes=[[0, 0, 4, 4], [0, 0, 4, 4], [90, 0, 110, 5], [5, 5, 5, 9], [200, 0, 300, 9], [0, 0, 50, 50]],
            image_rows=[0, 1, 0, 0, 0, 0],
            class_rows=[0, 0, 1, 1, 1, 0],
            sizes=[(50, 100), (50, 100), (10, 10)],
            ignored=[False] * 5 + [True],
        )
    )
    assert (found.images, found.images_without_boxes, found.boxes, found.ignored) == (3, 1, 3, 1)
    assert found.boxes_per_class.tolist() == [2, 1]
    assert found.images_per_class.tolist() == [2, 1]
    assert found.boxes_per_image.tolist() == [2, 1, 0]
    assert found.box_sizes.tolist() == pytest.approx([4, 4, 50**0.5])
    assert found.aspect_ratios.tolist() == [1, 1, 2]
    assert found.crowding.pairs == (0, 0, 0)


def test_sizes_as_the_network_sees_them():
    data = annotations([[0, 0, 4, 4]] * 3, [0, 1, 2], [0, 0, 0], [(50, 100), (200, 100), (0, 0)])
    found = statistics(data)
    at = found.box_sizes_at(ResizeShortestEdge((100,), 150))
    assert at[:2].tolist() == [6, 3]
    assert np.isnan(at[2])
    assert found.box_sizes_at(Letterbox((100, 100)))[:2].tolist() == [4, 2]
    assert share_below(at, 4) == 0.5


@pytest.mark.parametrize(
    "resize", [ResizeShortestEdge((64,), 1000), ResizeShortestEdge((64,), 90), Letterbox((48, 96))]
)
def test_the_factor_is_that_of_the_transform(resize):
    sizes = np.random.default_rng(0).integers(50, 500, (20, 2))
    factors = resize_factors(sizes, resize)
    for (height, width), factor in zip(sizes.tolist(), factors.tolist(), strict=True):
        if isinstance(resize, Letterbox):
            assert factor == min(48 / height, 96 / width)
        else:
            made = resize.output_size(height, width)
            assert made == (round(height * factor), round(width * factor))


def test_a_box_belongs_to_the_level_of_the_nearest_anchor():
    sizes = np.array([1.0, 32, 45, 46, 64, 10_000])
    assert level_shares(sizes, (8, 16, 32)).tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert level_shares(np.array([np.nan])).tolist() == [0] * 5


def test_the_edge_that_leaves_few_boxes_too_small():
    boxes, image_rows, class_rows = crowd(0, 5, 400)
    found = statistics(annotations(boxes, image_rows, class_rows, [(120, 100), (100, 300)] * 2 + [(100, 100)]))
    edge = shortest_edge_for(found, pixels=80, share=0.1)
    larger, smaller = (found.box_sizes_at(ResizeShortestEdge((round(edge) + more,), 65_000)) for more in (2, -2))
    assert share_below(larger, 80) <= 0.1 < share_below(smaller, 80)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_those_of_the_dense_way(seed, monkeypatch):
    monkeypatch.setattr("otadet.data.check.crowding._PAIRS_AT_ONCE", 50)
    boxes, image_rows, labels = crowd(seed, 4, 60)
    ious = pairwise_iou(torch.tensor(boxes), torch.tensor(boxes)).numpy()
    upper = np.triu(image_rows[:, None] == image_rows, k=1)
    pairs = {}
    for first, second, values in overlapping(boxes, image_rows, 0.1):
        for a, b, value in zip(first, second, values, strict=True):
            assert (min(a, b), max(a, b)) not in pairs
            pairs[min(a, b), max(a, b)] = value
    assert set(pairs) == set(zip(*np.nonzero(upper & (ious > 0.1)), strict=True))
    assert all(value == pytest.approx(ious[pair]) for pair, value in pairs.items())

    found = crowding(boxes, image_rows, labels, images=5)
    for row, threshold in enumerate(THRESHOLDS):
        above = (upper | upper.T) & (ious > threshold)
        assert found.pairs[row] == above.sum() / 2
        assert found.boxes_in_pairs[row] == above.any(axis=1).sum()
        assert found.images[row] == len(set(image_rows[above.any(axis=1)]))
        assert found.pairs_per_image[row] == above.sum() / 2 / 5
    for row, threshold in enumerate(NMS_IOUS):
        rivals = upper & (ious > threshold) & (labels[:, None] == labels)
        assert 0 <= found.lost_to_nms[row] <= rivals.sum()
        assert (found.lost_to_nms[row] > 0) == rivals.any()


def test_the_same_box_twice_is_no_crowd():
    data = annotations([[0, 0, 4, 4]] * 3, [0, 0, 0], [0, 0, 1], [(50, 100)])
    assert statistics(data).crowding.pairs == (1, 1, 1)
    assert statistics(data).crowding.lost_to_nms == (0, 0, 0, 0)


def test_nothing_at_all():
    found = statistics(annotations([], [], [], [(5, 5)]))
    assert (found.boxes, found.images_without_boxes, found.crowding.shares()) == (0, 1, (0, 0, 0))
    assert shortest_edge_for(found) == 0
