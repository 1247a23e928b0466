"""What the numbers say: settings that experiments have, and that do what is promised."""

from __future__ import annotations

import numpy as np
import pytest

from otadet.data.check.advice import advice, input_edge, input_resize, nms_iou, repeat_threshold
from otadet.data.check.statistics import Statistics, share_below, statistics
from otadet.data.transforms import ResizeShortestEdge
from otadet.exp import BaseExp
from tests.helpers.few_annotations import annotations

PAPERS = ResizeShortestEdge((800,), 1333)


def numbers(boxes, image_rows, class_rows=None, sizes=((480, 640),) * 10, names=("a", "b")) -> Statistics:
    class_rows = [0] * len(image_rows) if class_rows is None else class_rows
    return statistics(annotations(boxes, image_rows, class_rows, sizes, names))


def squares(side: float) -> Statistics:
    return numbers([[10 * row, 5, 10 * row + side, 5 + side] for row in range(10)], range(10))


def test_the_edge_is_that_of_the_pictures_unless_boxes_are_small():
    assert input_edge(squares(100)) == 480
    assert input_edge(squares(6)) == 640
    assert share_below(squares(6).box_sizes_at(input_resize(squares(6))), 8) == 0
    assert input_edge(squares(1)) == 960
    assert input_resize(numbers([[0, 0, 5, 5]], [0], sizes=[(0, 0)])) is None


def test_nms_is_set_where_it_would_lose_boxes():
    far = [[0, 0, 10, 10], [50, 0, 60, 10]]
    assert nms_iou(numbers(far, [0, 0])) == 0.6
    near = [[0, 0, 100, 10], [20, 0, 120, 10]]
    assert nms_iou(numbers(near, [0, 0])) == 0.7
    assert nms_iou(numbers(near, [0, 0], [0, 1])) == 0.6
    assert nms_iou(numbers([[0, 0, 100, 10], [3, 0, 103, 10]], [0, 0])) == 0.8


def test_rare_classes_are_repeated():
    boxes = [[5, 5, 50, 50]] * 20
    assert repeat_threshold(numbers(boxes, range(20), [0] * 20, [(100, 100)] * 20)) == 0
    assert repeat_threshold(numbers(boxes, range(20), [0] * 10 + [1] * 10, [(100, 100)] * 20)) == 0
    assert repeat_threshold(numbers(boxes, range(20), [0] * 19 + [1], [(100, 100)] * 20)) == pytest.approx(0.095)


def demanding() -> Statistics:
    """Small boxes in a crowd, and a rare class."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (3000, 2))
    boxes = np.concatenate((corners, corners + 6), axis=1)
    return numbers(boxes, rng.integers(0, 20, 3000), [0] * 2999 + [1], [(480, 640)] * 20)


def test_every_setting_is_one_that_an_experiment_takes():
    settings = [pair for one in advice(demanding(), ResizeShortestEdge((480,), 800)) for pair in one.settings]
    assert [name for name, _ in settings] == [
        "input.resize",
        "assigner",
        "postprocess.nms_iou",
        "postprocess.max_detections",
        "sampling",
        "sampling.threshold",
    ]
    exp = BaseExp()
    exp.override([word for pair in settings for word in pair])
    assert exp.sampling.threshold == repeat_threshold(demanding())
    assert exp.postprocess.max_detections > demanding().boxes_per_image.max()


def test_the_size_in_words():
    assert "100 % of the boxes are below 8 px" in advice(squares(6), ResizeShortestEdge((480,), 800))[0].why
    assert advice(squares(100), ResizeShortestEdge((480,), 800))[0].settings == ()
    assert advice(squares(100), PAPERS)[0].settings == (("input.resize", "480/800"),)
    assert advice(numbers([], []), PAPERS) == []
