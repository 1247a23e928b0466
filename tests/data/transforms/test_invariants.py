"""What holds for every transform: boxes inside, tight, none degenerate; the generator decides; the input stays."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.data.transforms import (
    ColorJitter,
    Compose,
    CopyPaste,
    Letterbox,
    MixUp,
    Mosaic,
    PhotometricDistortion,
    RandomAffine,
    RandomFlip,
    RandomHSV,
    RandomIoUCrop,
    RandomTranspose,
    RandomZoom,
    ResizeShortestEdge,
)
from otadet.data.transforms.compose import apply, others_of
from otadet.exp.plain import from_plain, to_plain
from tests.helpers.painted import COLORS, PAD, disjoint, extent, painted

STRAIGHT = [
    RandomFlip(0.5, 0.5),
    RandomTranspose(),
    RandomZoom(0.5, 2.0, PAD),
    Letterbox((70, 90), PAD),
    ResizeShortestEdge((50, 90), 120),
    RandomIoUCrop(pad_value=PAD),
    RandomIoUCrop((0.5,), aspect=5.0, pad_value=PAD, min_visible=0.0, hidden="ignore"),
    RandomAffine(pad_value=PAD, min_visible=0.0),
    RandomAffine(translate=0.5, scale=(0.2, 3.0), pad_value=PAD),
    Mosaic(pad_value=PAD),
    Mosaic((100, 140), scale=(0.3, 2.0), center=(0.0, 1.0), pad_value=PAD, min_visible=0.0),
    Compose((Mosaic(pad_value=PAD), RandomAffine(pad_value=PAD), RandomFlip())),
    CopyPaste(most=6),
    CopyPaste(most=30, scale=(0.2, 4.0), min_visible=0.0, hidden="ignore"),
]
"""Their boxes are as tight as those that came in."""
TURNING = [
    RandomAffine(degrees=45, pad_value=PAD),
    RandomAffine(degrees=180, shear=30, scale=(1.0, 2.0), pad_value=PAD, hidden="ignore", min_visible=0.6),
]
COLORS_ONLY = [ColorJitter(), RandomHSV(0.1), PhotometricDistortion(p=1.0, swap=0.5)]
MIXED = [MixUp(pad_value=PAD), MixUp((0.1, 3.0), pad_value=PAD, hidden="ignore", min_visible=0.9)]
EVERY = [*STRAIGHT, *TURNING, *COLORS_ONLY, *MIXED]
SIZES = st.tuples(st.integers(24, 90), st.integers(24, 90))
MANY = settings(max_examples=8)


def samples(seed: int, sizes) -> list:
    """Four, with labels of their own; the last one is empty."""
    counts = (3, 2, 2, 0)
    found = [
        painted(disjoint(seed + place, *size, count) if count else [], *size, first=(0, 3, 5, 7)[place])
        for place, (size, count) in enumerate(zip(sizes, counts, strict=True))
    ]
    return [replace(sample, ignored=sample.boxes.copy()) for sample in found]


def transformed(transform, parts, seed=3):
    return apply(transform, parts[0], np.random.default_rng(seed), parts[1 : 1 + others_of(transform)])


def check_sound(result) -> None:
    height, width = result.image.shape[:2]
    assert result.image.dtype == np.uint8
    assert result.image.flags.c_contiguous
    for boxes in (result.boxes, result.ignored):
        assert boxes.dtype == np.float32
        assert boxes.shape[1:] == (4,)
        assert (boxes >= 0).all()
        assert (boxes <= (width, height, width, height)).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 0.01).all()
    assert result.labels.dtype == np.int64
    assert result.labels.shape == result.boxes.shape[:1]


@pytest.mark.parametrize("transform", STRAIGHT, ids=str)
@MANY
@given(st.tuples(SIZES, SIZES, SIZES, SIZES), st.integers(0, 10**6))
def test_boxes_are_around_what_they_enclose(transform, sizes, seed):
    result = transformed(transform, samples(seed, sizes), seed)
    check_sound(result)
    seen = []
    for box, label in zip(result.boxes, result.labels.tolist(), strict=True):
        around = extent(result.image, label)
        if around is None:
            assert (box[2:] - box[:2]).min() < 2  # too thin to have a pixel of the pure colour
            continue
        seen.append((label, box, around))
    for label, box, around in seen:
        # Of an object that was pasted twice, or is there and was pasted, the colour is around all of them.
        together = [other for name, other, _ in seen if name == label]
        corners = np.array(together)
        joint = np.concatenate((corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)))
        if not isinstance(transform, CopyPaste):
            assert len(together) == 1
            np.testing.assert_allclose(box, around, atol=2.01)
        elif transform.min_visible == 0:
            np.testing.assert_allclose(joint, around, atol=2.01)


@pytest.mark.parametrize("transform", [part for part in STRAIGHT if getattr(part, "min_visible", 0) == 0], ids=str)
def test_what_is_seen_has_its_box(transform):
    for seed in range(20):
        result = transformed(transform, samples(seed, [(60, 80), (50, 50), (90, 40), (70, 70)]), seed)
        for label in range(len(COLORS)):
            around = extent(result.image, label)
            if around is not None and not isinstance(transform, Compose):
                corners = np.concatenate(result.boxes[result.labels == label])
                assert np.abs(corners.reshape(-1, 4)[:, :2].min(axis=0) - around[:2]).max() <= 2.01
                assert np.abs(corners.reshape(-1, 4)[:, 2:].max(axis=0) - around[2:]).max() <= 2.01


@pytest.mark.parametrize("transform", TURNING, ids=str)
@MANY
@given(SIZES, st.integers(0, 10**6))
def test_boxes_around_moved_corners_hold_the_object(transform, size, seed):
    result = transformed(transform, samples(seed, [size] * 4), seed)
    check_sound(result)
    for box, label in zip(result.boxes, result.labels.tolist(), strict=True):
        around = extent(result.image, label)
        assert around is None or ((box[:2] <= np.array(around[:2]) + 1) & (box[2:] >= np.array(around[2:]) - 1)).all()


@pytest.mark.parametrize("transform", EVERY, ids=str)
def test_the_generator_decides_and_the_input_stays(transform):
    parts = samples(1, [(60, 80), (50, 50), (90, 40), (70, 70)])
    before = pickle.dumps([vars(sample) for sample in parts])
    first, second = (transformed(transform, parts) for _ in range(2))
    for name in ("image", "boxes", "labels", "ignored"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.scale == second.scale
    assert pickle.dumps([vars(sample) for sample in parts]) == before
    if not isinstance(transform, Letterbox):
        assert len({transformed(transform, parts, seed).image.tobytes() for seed in range(30)}) > 1


@pytest.mark.parametrize("transform", EVERY, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_tiny_empty_and_filled_pictures(transform, size):
    whole = [[0, 0, size[1], size[0]]]
    for seed in range(8):
        for boxes in ([], whole, whole * 3):
            parts = [painted(boxes, *size, first=3 * place, ignored=boxes) for place in range(4)]
            result = transformed(transform, parts, seed)
            check_sound(result)
            assert len(boxes) or not len(result.boxes)
            large = [painted(boxes, *size, ignored=boxes), *samples(seed, [(30, 40)] * 4)]
            check_sound(transformed(transform, large, seed))


@pytest.mark.parametrize("transform", EVERY, ids=str)
def test_ignored_regions_move_as_boxes_do(transform):
    if getattr(transform, "hidden", "drop") == "ignore" or isinstance(transform, CopyPaste):
        return  # which has further regions; see its own tests
    for seed in range(10):
        parts = samples(seed, [(60, 80), (50, 50), (90, 40), (70, 70)])
        result = transformed(transform, parts, seed)
        regions = {tuple(region) for region in result.ignored.tolist()}
        assert {tuple(box) for box in result.boxes.tolist()} <= regions
        without = transformed(transform, [replace(part, ignored=part.ignored[:0]) for part in parts], seed)
        assert len(without.ignored) == 0
        np.testing.assert_array_equal(without.boxes, result.boxes)


@pytest.mark.parametrize("transform", EVERY, ids=str)
def test_a_checkpoint_can_hold_it(transform):
    assert from_plain(to_plain(transform), "augment.0") == transform


def test_a_thousand_boxes_are_a_thousand_boxes():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, (70, 50), (1000, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(1, 10, (1000, 2))), axis=1).astype(np.float32)
    crowd = replace(painted([], 60, 80), boxes=boxes, labels=np.zeros(1000, np.int64))
    for transform in EVERY:
        result = transformed(transform, [crowd] * 4)
        check_sound(result)
        if isinstance(transform, MixUp | CopyPaste | ColorJitter | RandomFlip | RandomHSV):
            assert len(result.boxes) > 600
