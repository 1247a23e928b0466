"""Batches that are packed sample by sample."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.data.batch import Packer
from otadet.data.batch_memory import BatchMemory
from otadet.data.loader import eval_loader, train_loader
from otadet.data.transforms import ColorJitter, Compose, MultiScale, RandomFlip, ResizeShortestEdge, Until
from otadet.data.view import View
from tests.helpers.noise_images import GREY, Noise, assert_same, stream

SMALL = ResizeShortestEdge((40,), 80)
SIDES = st.integers(1, 70)
VIEWS = {
    "plain": lambda image: image,
    "left-right": lambda image: image[:, ::-1],
    "top-bottom": lambda image: image[::-1],
    "both": lambda image: image[::-1, ::-1],
    "transposed": lambda image: image.transpose(1, 0, 2),
    "BGR": lambda image: image[..., ::-1],
    "a part": lambda image: image[:1, :1],
}


@settings(max_examples=60)
@given(st.data())
def test_images_of_any_layout_are_packed_whatever_size_was_expected(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    samples = []
    for _ in range(data.draw(st.integers(1, 4))):
        image = rng.integers(0, 256, (data.draw(SIDES), data.draw(SIDES), 3), dtype=np.uint8)
        view = VIEWS[data.draw(st.sampled_from(list(VIEWS)))]
        samples.append(replace(Noise(2).sample(1), image=view(image)))
    expected = data.draw(st.tuples(SIDES, SIDES).map(lambda size: (size[0] * 4, size[1] * 4)))
    packer = Packer(len(samples) + data.draw(st.integers(0, 2)), expected, GREY, 4, BatchMemory())
    for sample in samples:
        packer.add(View.of(sample))
    found = packer.packed().images
    height, width = (-(-max(sample.image.shape[axis] for sample in samples) // 4) * 4 for axis in (0, 1))
    canvas = np.empty((len(samples), height, width, 3), np.uint8)
    canvas[...] = GREY
    for part, sample in zip(canvas, samples, strict=True):
        part[: sample.image.shape[0], : sample.image.shape[1]] = sample.image
    np.testing.assert_array_equal(found, canvas)


class Alone(Noise):
    """Samples each of which is read when the image of the one before is gone."""

    def sample(self, index):
        assert not LIVING
        sample = super().sample(index)
        LIVING[id(sample.image)] = sample.image
        return sample


LIVING: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()


@pytest.mark.parametrize(
    "transform",
    [SMALL, Compose((SMALL, RandomFlip(0.5, 0.5), ColorJitter())), Compose((RandomFlip(), Until(0.5, SMALL)))],
    ids=str,
)
def test_there_is_one_image_at_a_time(transform):
    options = {"batch_size": 4, "pad_value": GREY, "size_divisor": 32}
    assert len(list(train_loader(Alone(20), transform, iterations=6, **options))) == 6
    if not isinstance(transform, Compose) or not isinstance(transform.transforms[-1], Until):
        assert sum(map(len, eval_loader(Alone(9), transform, **options))) == 9


def test_images_that_wait_for_others_are_kept_as_small_as_they_become():
    several = Compose((ResizeShortestEdge((8, 9, 10), 60), RandomFlip()))
    options = {"batch_size": 4, "pad_value": GREY, "size_divisor": 1}
    assert len(list(train_loader(Alone(20), several, iterations=6, **options))) == 6
    assert sum(map(len, eval_loader(Alone(9), several, **options))) == 9


class Misjudged(Noise):
    """Its images are of other sizes than it says."""

    @property
    def sizes(self):
        return super().sizes[::-1]


class Unsized:
    def __init__(self, transform):
        self.transform = transform

    def __call__(self, sample, rng):
        return self.transform(sample, rng)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "transform", [SMALL, Compose((SMALL, RandomFlip())), MultiScale((SMALL, ResizeShortestEdge((64,), 90)))], ids=str
)
def test_what_is_known_beforehand_changes_nothing(transform, workers):
    options = {"batch_size": 2, "workers": workers, "iterations": 15}
    known = stream(Noise(40), transform, **options)
    assert len({batch.images.shape for batch in known}) > 1
    assert_same(stream(Misjudged(40), transform, **options), known)
    if not isinstance(transform, MultiScale):
        assert_same(stream(Noise(40), Unsized(transform), **options), known)


def test_a_substitute_may_have_another_size():
    lost, options = Noise(40, all_broken=tuple(range(25, 40))), {"unreadable": "skip", "iterations": 12}
    assert_same(stream(lost, SMALL, **options), stream(lost, Unsized(SMALL), **options))
