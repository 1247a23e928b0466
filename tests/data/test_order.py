import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.data.order import ByOrientation, Shuffled

TALL = st.lists(st.booleans(), min_size=1, max_size=40).map(np.array)


@settings(max_examples=60)
@given(TALL, st.integers(1, 9), st.integers(0, 2**40), st.integers(0, 10_000))
def test_a_batch_is_full_of_one_orientation_wherever_it_is_begun(is_tall, size, seed, start):
    from_start, anew = ByOrientation(is_tall, seed), ByOrientation(is_tall, seed)
    numbers = range(start, start + 12)
    batches = [from_start.batch(number, size) for number in numbers]
    for number, batch in reversed(list(zip(numbers, batches, strict=True))):
        assert anew.batch(number, size) == batch
        assert len(batch) == size
        assert len(set(is_tall[batch])) == 1
        assert set(batch) <= set(from_start.alike(batch[0]).tolist())


@settings(max_examples=60)
@given(TALL, st.integers(1, 9), st.integers(0, 99))
def test_every_image_of_a_kind_comes_once_before_any_comes_again(is_tall, size, seed):
    order = ByOrientation(is_tall, seed)
    used = np.zeros(len(is_tall), int)
    for number in range(-(-4 * len(is_tall) // size)):
        np.add.at(used, order.batch(number, size), 1)
        for kind in (used[is_tall], used[~is_tall]):
            assert not len(kind) or kind.max() - kind.min() <= 1


@settings(max_examples=60)
@given(TALL, st.integers(1, 9), st.integers(0, 99))
def test_both_kinds_come_as_often_as_there_are_such_images(is_tall, size, seed):
    order, batches = ByOrientation(is_tall, seed), 500
    images = [index for number in range(batches) for index in order.batch(number, size)]
    tall_batches = is_tall[images].sum() / size
    assert abs(tall_batches - batches * is_tall.mean()) <= max(1, len(is_tall) // size) + 1


def test_batches_of_the_two_kinds_are_mixed():
    is_tall = np.arange(400) < 100
    orders = [ByOrientation(is_tall, seed) for seed in (0, 1)]
    kinds = [[bool(is_tall[order.batch(number, 2)[0]]) for number in range(384)] for order in orders]
    assert kinds[0] != kinds[1]
    gaps = [np.diff(np.flatnonzero(kind)) for kind in kinds]
    assert all(1 in gap and gap.max() > 4 for gap in gaps)
    assert [sum(kind) for kind in kinds] == [96, 96]


@pytest.mark.parametrize("order", [Shuffled(np.arange(50), (3, 0)), ByOrientation(np.zeros(50, bool), 3)])
def test_epochs_are_permutations(order):
    images = [index for number in range(30) for index in order.batch(number, 5)]
    epochs = [images[start : start + 50] for start in (0, 50, 100)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3


def test_beginning_late_costs_what_beginning_at_the_start_does():
    is_tall = np.random.default_rng(0).random(118_000) < 0.26
    late = ByOrientation(is_tall, 0)
    start = time.process_time()
    assert len(late.batch(90_000 * 8, 2)) == 2
    # Milliseconds; a replay of the stream would take minutes.
    assert time.process_time() - start < 5
