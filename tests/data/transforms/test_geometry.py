from dataclasses import replace

import cv2
import numpy as np
import pytest

from otadet.data.sample import Sample
from otadet.data.transforms import (
    ColorJitter,
    Compose,
    Letterbox,
    RandomFlip,
    RandomTranspose,
    RandomZoom,
    ResizeShortestEdge,
)
from otadet.errors import UserError

GREY = (114, 114, 114)
GEOMETRIC = [
    ResizeShortestEdge((48,), 1000),
    ResizeShortestEdge((200,), 110),
    Letterbox((100, 64), GREY),
    RandomFlip(1.0, 0.0),
    RandomFlip(0.0, 1.0),
    RandomTranspose(1.0),
    RandomZoom(0.6, 0.6, GREY),
    RandomZoom(1.5, 1.5, GREY),
    Compose((RandomFlip(1.0, 1.0), RandomTranspose(1.0), RandomZoom(0.5, 2.0, GREY), Letterbox((90, 90), GREY))),
]


def sample_of(boxes, height=60, width=80) -> Sample:
    """Every box painted on black in a colour of its own: red holds its number, counted from 1."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    image = np.zeros((height, width, 3), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes.astype(int), start=1):
        image[y1:y2, x1:x2] = 80 * number % 256, 0, 255
    return Sample(image, boxes, np.arange(len(boxes)), 7, "seven.png", (height, width))


@pytest.mark.parametrize("transform", GEOMETRIC, ids=str)
def test_boxes_follow_what_they_enclose(transform):
    result = transform(sample_of([[8, 12, 32, 30], [44, 24, 72, 56]]), np.random.default_rng(3))
    assert len(result.boxes) == len(result.labels) >= 1
    for box, label in zip(result.boxes, result.labels, strict=True):
        painted = (result.image[..., 2] > 200) & (abs(result.image[..., 0].astype(int) - 80 * (label + 1)) < 30)
        rows, columns = np.nonzero(painted)
        around = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        np.testing.assert_allclose(box, around, atol=1.01)


@pytest.mark.parametrize("transform", [*GEOMETRIC, ColorJitter()], ids=str)
def test_ignored_regions_move_as_boxes_do(transform):
    sample = sample_of([[8, 12, 32, 30], [44, 24, 72, 56]])
    ignored = np.concatenate((sample.boxes, [[10, 10, 10.001, 40]])).astype(np.float32)
    result = transform(replace(sample, ignored=ignored), np.random.default_rng(3))
    assert result.ignored.dtype == np.float32
    assert result.ignored[: len(result.boxes)].tolist() == result.boxes.tolist()
    assert len(transform(sample, np.random.default_rng(3)).ignored) == 0


def test_degenerate_regions_are_dropped_and_what_is_left_of_others_stays():
    sample = replace(sample_of([[0, 0, 80, 60]]), ignored=np.array([[0, 0, 80, 60], [5, 5, 5.01, 50]], np.float32))
    zoomed = RandomZoom(4.0, 4.0, GREY, min_visible=0.9)(sample, np.random.default_rng(0))
    assert len(zoomed.boxes) == 0
    assert zoomed.ignored.tolist() == [[0, 0, 80, 60]]
    halved = ResizeShortestEdge((30,), 100)(sample, np.random.default_rng(0))
    assert halved.ignored.tolist() == [[0, 0, 40, 30]]


@pytest.mark.parametrize("transform", [*GEOMETRIC, ColorJitter()], ids=str)
def test_images_without_boxes_stay(transform):
    result = transform(sample_of([]), np.random.default_rng(0))
    assert result.boxes.shape == (0, 4)
    assert result.boxes.dtype == np.float32
    assert result.labels.shape == (0,)
    assert result.labels.dtype == np.int64
    assert result.image.dtype == np.uint8
    assert result.image.flags.c_contiguous


@pytest.mark.parametrize("transform", [*GEOMETRIC, ColorJitter()], ids=str)
def test_the_input_is_not_changed_and_the_generator_decides(transform):
    sample = sample_of([[8, 12, 32, 30]])
    image, boxes = sample.image.copy(), sample.boxes.copy()
    first, second = (transform(sample, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.boxes, boxes)


@pytest.mark.parametrize("transform", GEOMETRIC, ids=str)
def test_boxes_end_inside_the_image(transform):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, (80, 60), (500, 2))
    boxes = np.concatenate((corners, np.minimum(corners + rng.uniform(0, 30, (500, 2)), (80, 60))), axis=1)
    result = transform(sample_of(boxes), rng)
    height, width = result.image.shape[:2]
    assert (result.boxes >= 0).all()
    assert (result.boxes <= (width, height, width, height)).all()
    assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()
    assert len(result.boxes) == len(result.labels)


@pytest.mark.parametrize(
    ("size", "max_size", "expected"),
    [(30, 1000, (30, 40)), (120, 1000, (120, 160)), (120, 100, (75, 100)), (800, 1333, (800, 1067))],
)
def test_shortest_edge_within_the_maximum(size, max_size, expected):
    result = ResizeShortestEdge((size,), max_size)(sample_of([[0, 0, 80, 60]]), np.random.default_rng(0))
    assert result.image.shape[:2] == expected
    np.testing.assert_allclose(result.boxes[0, 2:], (expected[1], expected[0]))


def test_all_sizes_are_drawn():
    rng, transform = np.random.default_rng(0), ResizeShortestEdge((30, 40, 50), 1000)
    assert {transform(sample_of([]), rng).image.shape[0] for _ in range(40)} == {30, 40, 50}


@pytest.mark.parametrize("size", [(64, 64), (100, 40), (33, 97)])
def test_scale_leads_back_to_the_file(size):
    boxes = np.array([[8, 12, 32, 30], [44, 24, 72, 56]], np.float32)
    sample = Compose((ResizeShortestEdge((45,), 70), Letterbox(size, GREY)))(sample_of(boxes), np.random.default_rng(0))
    assert sample.image.shape[:2] == size
    np.testing.assert_allclose(sample.boxes / np.tile(sample.scale, 2), boxes, rtol=1e-5)
    content_height, content_width = round(60 * sample.scale[1]), round(80 * sample.scale[0])
    assert (sample.image[content_height:] == 114).all()
    assert (sample.image[:, content_width:] == 114).all()
    assert content_height == size[0] or content_width == size[1]


def test_flips_and_transposition_give_the_eight_symmetries():
    transform = Compose((RandomFlip(0.5, 0.5), RandomTranspose(0.5)))
    sample, rng = sample_of([[0, 0, 20, 10]], 40, 40), np.random.default_rng(0)
    assert len({transform(sample, rng).image.tobytes() for _ in range(100)}) == 8


def test_zooming_in_drops_boxes_that_are_mostly_outside():
    sample = sample_of([[20, 20, 60, 40]])
    left = [
        (min_visible, len(RandomZoom(4.0, 4.0, GREY, min_visible)(sample, np.random.default_rng(seed)).boxes))
        for seed in range(20)
        for min_visible in (0.0, 0.3, 1.0)
    ]
    kept = {min_visible: sum(count for key, count in left if key == min_visible) for min_visible, _ in left}
    assert kept[0.0] > kept[0.3] > 0
    assert kept[1.0] == 0


def test_zooming_out_keeps_every_box():
    sample = sample_of([[0, 0, 5, 5], [70, 50, 80, 60]])
    for seed in range(10):
        assert len(RandomZoom(0.3, 1.0, GREY)(sample, np.random.default_rng(seed)).boxes) == 2


def test_shrinking_averages():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    sample = Sample(stripes, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 0, "stripes.png", (64, 64))
    small = ResizeShortestEdge((16,), 100)(sample, np.random.default_rng(0)).image
    assert abs(int(cv2.mean(small)[0]) - 127) <= 1
    assert small.std() < 2


@pytest.mark.parametrize(
    ("transform", "arguments"),
    [
        (ResizeShortestEdge, ((), 100)),
        (ResizeShortestEdge, ((0,), 100)),
        (ResizeShortestEdge, ((64,), 0)),
        (Letterbox, ((64, 0), GREY)),
        (Letterbox, ((64,), GREY)),
        (RandomZoom, (0.0, 2.0, GREY)),
        (RandomZoom, (2.0, 1.0, GREY)),
    ],
)
def test_impossible_sizes_are_refused(transform, arguments):
    with pytest.raises(UserError, match=transform.__name__):
        transform(*arguments)
