"""Pictures that are nearly the same are found as by comparing all with all."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from otadet.data.check import similar
from otadet.data.check.similar import (
    MAX_BITS,
    alike_pairs,
    components,
    correlations,
    grey_picture,
    near_pairs,
    perceptual_hash,
    thumbnail,
)
from tests.helpers.annotated_folder import picture


def bits_between(a: int, b: int) -> int:
    return bin(a ^ b).count("1")


def looked_at(pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    grey = [grey_picture(pixels) for pixels in pictures]
    hashes = np.array([perceptual_hash(one) for one in grey], dtype=np.uint64)
    return hashes, np.stack([thumbnail(one) for one in grey])


def test_near_pairs_are_those_of_all_with_all():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 40, dtype=np.uint64)
    for row in range(1, 40, 2):
        flipped = rng.choice(64, row % (MAX_BITS + 3), replace=False)
        hashes[row] = hashes[row - 1] ^ np.bitwise_or.reduce(np.uint64(1) << flipped.astype(np.uint64), initial=0)
    found, complete = near_pairs(hashes)
    values = hashes.tolist()
    pairs = {(a, b) for b in range(40) for a in range(b) if bits_between(values[a], values[b]) <= MAX_BITS}
    assert len(pairs) > 10
    assert complete
    assert set(map(tuple, found.tolist())) == pairs


def test_so_many_that_they_are_not_all_compared(monkeypatch):
    monkeypatch.setattr(similar, "_CANDIDATES", 50)
    found, complete = near_pairs(np.arange(64, dtype=np.uint64))
    assert not complete
    assert len(found)


def test_no_hash_at_all():
    found, complete = near_pairs(np.empty(0, dtype=np.uint64))
    assert found.shape == (0, 2)
    assert complete


@pytest.mark.parametrize("change", ["resized", "brighter", "jpeg", "shifted"])
def test_a_changed_copy_is_alike_and_others_are_not(change):
    original = picture(0, 200)
    copy = {
        "resized": lambda: cv2.resize(original, (131, 90)),
        "brighter": lambda: (original * 0.8 + 30).astype(np.uint8),
        "jpeg": lambda: cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 1),
        "shifted": lambda: original[1:, 1:],
    }[change]()
    hashes, thumbnails = looked_at([original, picture(1, 200), copy, picture(2, 200)])
    found = alike_pairs(hashes, thumbnails, np.zeros(4, dtype=int))
    assert found.pairs.tolist() == [[0, 2]]


def test_equal_hashes_do_not_hide_a_pair_across_splits():
    hashes, thumbnails = looked_at([picture(0)] * 4)
    pairs = alike_pairs(hashes, thumbnails, np.array([0, 0, 1, 1])).pairs.tolist()
    assert [0, 2] in pairs
    assert sorted(np.unique(pairs).tolist()) == [0, 1, 2, 3]


def test_what_is_of_one_colour_is_like_nothing():
    _, thumbnails = looked_at([np.full((64, 64, 3), 7, np.uint8), picture(0)])
    assert correlations(thumbnails, np.array([[0, 1], [0, 0], [1, 1]])).tolist() == pytest.approx([0, 0, 1], abs=1e-5)


def test_components_link_over_others():
    pairs = np.array([[5, 6], [1, 2], [3, 6], [2, 7]])
    assert components(pairs, 8).tolist() == [0, 1, 1, 3, 4, 3, 3, 1]
    assert components(np.empty((0, 2), dtype=int), 2).tolist() == [0, 1]
    chain = np.stack((np.arange(99, 0, -1), np.arange(98, -1, -1)), axis=1)
    assert components(np.random.default_rng(0).permutation(chain), 100).tolist() == [0] * 100
