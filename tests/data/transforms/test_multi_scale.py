"""One size per batch, and the switch-off of every transform, in a stream that is resumed and shared."""

import numpy as np
import pytest

from otadet.data.transforms import (
    Compose,
    CopyPaste,
    Letterbox,
    MixUp,
    Mosaic,
    MultiScale,
    PhotometricDistortion,
    RandomAffine,
    RandomFlip,
    RandomHSV,
    RandomIoUCrop,
    ResizeShortestEdge,
    Until,
)
from otadet.errors import UserError
from tests.helpers.noise_images import GREY, Noise, assert_same, stream

SIDES = (32, 64, 96)
SQUARES = MultiScale(tuple(Letterbox((side, side), GREY) for side in SIDES))
PARTS = (
    Mosaic(pad_value=GREY),
    MixUp(p=0.5, pad_value=GREY),
    CopyPaste(p=0.7),
    RandomAffine(degrees=5, pad_value=GREY),
    RandomIoUCrop(pad_value=GREY),
    RandomHSV(),
    PhotometricDistortion(),
    MultiScale((ResizeShortestEdge((40,), 80), ResizeShortestEdge((56,), 80))),
)
ALL = Compose((SQUARES, *PARTS[:-1], RandomFlip()))


def sizes(batches):
    return [tuple(batch.images.shape[2:]) for batch in batches]


def test_a_batch_has_one_size_and_batches_have_several():
    found = sizes(stream(transform=SQUARES, iterations=40, batch_size=3))
    assert set(found) == {(side, side) for side in SIDES}
    for side in SIDES:
        assert 5 < found.count((side, side)) < 22
    assert found != sizes(stream(transform=SQUARES, iterations=40, batch_size=3, seed=6))


def test_what_is_mixed_later_keeps_the_size_of_the_batch():
    plain = sizes(stream(Noise(9), SQUARES, iterations=8))
    assert sizes(stream(Noise(9), ALL, iterations=8)) == plain


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "transform", [SQUARES, ALL, Compose((Until(0.55, SQUARES), SQUARES))], ids=["sizes", "all", "until"]
)
def test_the_stream_is_resumed_exactly(transform, workers):
    whole = stream(Noise(9), transform, iterations=8)
    for start in (3, 5):
        assert_same(stream(Noise(9), transform, iterations=8, start_iteration=start, workers=workers), whole[start:])


def test_all_ranks_have_the_size_of_the_iteration():
    whole = sizes(stream(Noise(9), SQUARES, batch_size=6, iterations=7))
    for rank in range(3):
        assert sizes(stream(Noise(9), SQUARES, batch_size=6, iterations=7, world_size=3, rank=rank)) == whole


def test_a_batch_within_which_something_ends_has_one_size():
    """What has ended draws for the batch all the same, so that what comes after it does not notice."""
    ending = Compose((Until(0.55, MultiScale((Letterbox((16, 16), GREY),) * 5)), SQUARES))
    for batch in stream(Noise(9), ending, iterations=10):
        side = batch.images.shape[3]
        assert side in SIDES
        # Each picture, 30 pixels wide, fills the width: none was padded to another one's size.
        np.testing.assert_allclose([30 * scale[0] for scale in batch.scales], side, rtol=0.05)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
@pytest.mark.parametrize("share", [0.4, 0.55])
def test_each_of_them_ends_at_its_position_in_a_training_that_is_resumed(part, share):
    """Batches of 4: the second share lies within one."""
    resize = Letterbox((48, 64), GREY)
    whole = stream(Noise(9), Compose((resize, Until(share, part))), iterations=10)
    without = stream(Noise(9), resize, iterations=10)
    ended = int(-(-share * 10 // 1))
    for batch, plain in zip(whole[ended:], without[ended:], strict=True):
        assert_same([batch], [plain])
    first = [np.array_equal(batch.images, plain.images) for batch, plain in zip(whole[:4], without, strict=False)]
    assert not all(first)
    for start in (2, 4, 5, 6):
        resumed = stream(Noise(9), Compose((resize, Until(share, part))), iterations=10, start_iteration=start)
        assert_same(resumed, whole[start:])


def test_alone_it_does_not_know_what_a_batch_is_and_needs_a_size():
    with pytest.raises(UserError, match=r"^MultiScale.*only the loader of a training"):
        SQUARES(Noise(2).sample(0), np.random.default_rng(0))
    with pytest.raises(UserError, match="MultiScale: resizes"):
        MultiScale(())
