"""Repeat-factor sampling: the factors by hand, and the stream that they make."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.data.order import ByOrientation, Repeated, Shuffled, shuffled
from otadet.data.sampling import RepeatFactor, repeat_factors
from otadet.errors import UserError
from tests.helpers.noise_images import Noise, assert_same, stream

REPEATS = st.lists(st.sampled_from([1.0, 1.0, 1.25, 2.0, 3.5]), min_size=1, max_size=12).map(np.array)


@dataclass(frozen=True)
class Rare(Noise):
    """The first image alone has class 1."""

    def objects(self):
        return np.arange(self.size), (np.arange(self.size) == 0).astype(int)


SAMPLING = RepeatFactor(0.5)


def test_factors_by_hand():
    """8 images: class 0 in all but the last one, class 1 in two, class 2 in one, twice; threshold 1/2."""
    images = np.array([0, 1, 2, 3, 4, 5, 6, 0, 1, 1, 1])
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2])
    found = repeat_factors(images, labels, 8, 0.5)
    np.testing.assert_allclose(found, [np.sqrt(0.5 / 0.25), np.sqrt(0.5 / 0.125), 1, 1, 1, 1, 1, 1])


def test_no_box_is_no_repetition_and_a_class_without_images_has_no_say():
    assert repeat_factors(np.empty(0, int), np.empty(0, int), 3, 0.5).tolist() == [1, 1, 1]
    assert repeat_factors(np.array([1]), np.array([7]), 4, 1.0).tolist() == [1, 2, 1, 1]


def test_the_factors_of_a_data_set():
    np.testing.assert_allclose(SAMPLING.repeats(Rare(8)), [2, 1, 1, 1, 1, 1, 1, 1])
    with pytest.raises(UserError, match="sampling: Noise does not know which classes"):
        SAMPLING.repeats(Noise(8))
    with pytest.raises(UserError, match="RepeatFactor: threshold 0"):
        RepeatFactor(0)


@settings(max_examples=40)
@given(REPEATS, st.integers(0, 10**6), st.integers(0, 300), st.integers(1, 5))
def test_the_order_is_the_same_wherever_it_is_begun(repeats, seed, start, size):
    images = np.arange(10, 10 + len(repeats))
    from_start, anew = (Repeated(images, repeats, (seed, 0)) for _ in range(2))
    whole = [from_start.batch(number, size) for number in range(start + 6)]
    assert [anew.batch(number, size) for number in range(start, start + 6)] == whole[start:]
    assert anew.batch(0, size) == whole[0]


@settings(max_examples=30)
@given(REPEATS, st.integers(0, 10**6))
def test_each_epoch_rounds_down_or_up(repeats, seed):
    order = Repeated(np.arange(len(repeats)), repeats, (seed,))
    order.batch(0, 400)
    flat = [index for number in range(order._starts[-1]) for index in order.batch(number, 1)]
    for begin, end in zip(order._starts, order._starts[1:], strict=False):
        counts = np.bincount(flat[begin:end], minlength=len(repeats))
        assert (np.floor(repeats) <= counts).all()
        assert (counts <= np.ceil(repeats)).all()


def test_the_fraction_is_a_probability():
    repeats = np.array([1.0, 1.25, 2.5, 3.0])
    order = Repeated(np.arange(4), repeats, (0,))
    counts = np.bincount(order.batch(0, 40_000), minlength=4)
    np.testing.assert_allclose(counts / counts[0], repeats, rtol=0.02)


def test_where_nothing_is_rare_nothing_changes():
    assert isinstance(shuffled(np.arange(5), np.ones(5), (0,)), Shuffled)
    assert_same(stream(Rare(9), iterations=12, sampling=RepeatFactor(1e-6)), stream(Rare(9), iterations=12))


def test_both_orientations_come_as_their_images_are_repeated():
    is_tall = np.arange(40) < 10
    order = ByOrientation(is_tall, 0, np.where(is_tall, 3.0, 1.0))
    images = np.array([index for number in range(6_000) for index in order.batch(number, 2)])
    counts = np.bincount(images, minlength=40)
    np.testing.assert_allclose(counts[:10] / counts[10:].mean(), 3, rtol=0.02)


@pytest.mark.parametrize("group_by_aspect", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_is_resumed_exactly_and_has_the_rare_more_often(group_by_aspect, workers):
    options = {"iterations": 30, "sampling": SAMPLING, "group_by_aspect": group_by_aspect}
    whole = stream(Rare(12), **options)
    names = [name for batch in whole for name in batch.file_names]
    assert names.count("0.png") > 1.5 * np.mean([names.count(f"{index}.png") for index in range(1, 12)])
    for start in (7, 22):
        assert_same(stream(Rare(12), start_iteration=start, workers=workers, **options), whole[start:])


def test_ranks_share_the_stream():
    options = {"batch_size": 6, "iterations": 8, "sampling": SAMPLING}
    whole = stream(Rare(12), **options)
    shares = [stream(Rare(12), world_size=3, rank=rank, **options) for rank in range(3)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert batch.file_names == [name for part in parts for name in part.file_names]
