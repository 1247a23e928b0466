"""Transforms that need other samples, and those that end before the training does."""

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

from otadet.data.loader import eval_loader, train_loader
from otadet.data.transforms import Compose, Letterbox, RandomFlip, ResizeShortestEdge, Until
from otadet.data.transforms.compose import apply, apply_as_view
from otadet.data.view import View
from otadet.errors import UserError
from tests.helpers.noise_images import AUGMENT, GREY, Noise, assert_same, stream


@dataclass(frozen=True)
class Patchwork:
    """Pastes a corner of each other sample somewhere, and says whose they are."""

    others: int = 2

    def __call__(self, sample, rng, others):
        image = sample.image.copy()
        for other in others:
            top, left = rng.integers(0, 10, size=2)
            image[top : top + 8, left : left + 8] = other.image[:8, :8]
        names = "+".join(each.file_name for each in (sample, *others))
        return replace(sample, image=image, file_name=names)


MIXED = Compose((RandomFlip(), Patchwork(2), Compose((Patchwork(1), AUGMENT))))
ENDING = Compose((Until(0.6, Patchwork(2)), RandomFlip(0.5, 0.5)))


def names_of(batches):
    return [name for batch in batches for name in batch.file_names]


def test_as_many_others_as_are_needed_from_the_generator_of_the_transform():
    found = names_of(stream(Noise(9), Patchwork(3), batch_size=1, iterations=5, seed=4))
    for position, name in enumerate(found):
        drawn = np.random.default_rng((4, 1, position)).integers(9, size=3)
        assert name.split("+")[1:] == [f"{index}.png" for index in drawn]


def test_each_of_several_gets_others_of_its_own():
    assert MIXED.others == 3
    for name, other in zip(names_of(stream(transform=MIXED)), names_of(stream(transform=Patchwork(3))), strict=True):
        assert name == other


@pytest.mark.parametrize("transform", [MIXED, ENDING], ids=["others", "until"])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_is_resumed_exactly_with_others(transform, workers):
    whole = stream(Noise(9), transform, iterations=10)
    for start in (3, 5, 6, 9):
        assert_same(stream(Noise(9), transform, iterations=10, start_iteration=start, workers=workers), whole[start:])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("transform", [MIXED, ENDING], ids=["others", "until"])
def test_ranks_share_the_stream_with_others(transform, workers):
    options = {"batch_size": 6, "iterations": 5, "world_size": 3, "workers": workers}
    shares = [stream(Noise(9), transform, rank=rank, **options) for rank in range(3)]
    whole = stream(Noise(9), transform, batch_size=6, iterations=5)
    for batch, *parts in zip(whole, *shares, strict=True):
        assert batch.file_names == names_of(parts)
        pixels = [image for part in parts for image in part.images]
        for image, other in zip(batch.images, pixels, strict=True):
            height, width = (min(sides) for sides in zip(image.shape[1:], other.shape[1:], strict=True))
            assert image[:, :height, :width].equal(other[:, :height, :width])


@pytest.mark.parametrize("unreadable", ["fail", "skip"])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_other_is_as_any_unreadable_image(unreadable, workers):
    dataset = Noise(9, all_broken=(2, 5))
    options = {"unreadable": unreadable, "iterations": 12, "workers": workers}
    if unreadable == "fail":
        with pytest.raises(UserError, match=r"^[25]\.png: broken$"):
            stream(dataset, Patchwork(2), **options)
        return
    whole = stream(dataset, Patchwork(2), **options)
    healthy = stream(Noise(9), Patchwork(2), iterations=12)
    assert all(len(batch) == 4 for batch in whole)
    lost = {"2.png", "5.png"}
    for name, before in zip(names_of(whole), names_of(healthy), strict=True):
        assert not lost & set(name.split("+"))
        pairs = zip(name.split("+"), before.split("+"), strict=True)
        assert all(part == other or other in lost for part, other in pairs)
    assert_same(stream(dataset, Patchwork(2), start_iteration=7, **options), whole[7:])


def test_two_others_that_are_lost_are_not_replaced_by_the_same_image():
    found = names_of(stream(Noise(40, all_broken=tuple(range(1, 30))), Patchwork(3), unreadable="skip", iterations=20))
    assert all("0.png" in name or len(set(name.split("+"))) > 1 for name in found)
    assert sum(len(set(name.split("+"))) == 4 for name in found) > 40


@pytest.mark.parametrize(("share", "mixed"), [(0.0, 0), (0.5, 10), (0.51, 11), (1.0, 20)])
@pytest.mark.parametrize("workers", [0, 2])
def test_until_ends_at_a_position(share, mixed, workers):
    options = {"batch_size": 2, "iterations": 10, "workers": workers}
    found = stream(Noise(9), Compose((Until(share, Patchwork(1)), AUGMENT)), **options)
    assert ["+" in name for name in names_of(found)] == [position < mixed for position in range(20)]
    # What comes after it draws as if it had never been there.
    plain = stream(Noise(9), AUGMENT, **options)
    assert_same(found[-(-mixed // 2) :], plain[-(-mixed // 2) :])
    assert_same(
        stream(Noise(9), Until(share, Compose((Patchwork(1), AUGMENT))), **options)[: mixed // 2], found[: mixed // 2]
    )


def test_until_within_until_ends_with_the_first():
    found = stream(transform=Until(0.75, Until(0.5, Patchwork(1))), batch_size=1, iterations=4)
    assert ["+" in name for name in names_of(found)] == [True, True, False, False]


def test_loaders_with_others_can_be_sent_to_workers_that_are_started_anew():
    loader = train_loader(Noise(5), MIXED, batch_size=2, iterations=3, pad_value=GREY, size_divisor=32)
    work = pickle.loads(pickle.dumps(loader._work))
    assert work.make([(2, 4)]).batches[0].file_names == loader._work.make([(2, 4)]).batches[0].file_names


def test_an_evaluation_has_no_others():
    resize = ResizeShortestEdge((32,), 64)
    options = {"batch_size": 1, "pad_value": GREY, "size_divisor": 32}
    with pytest.raises(UserError, match=r"Patchwork\(others=1\).*: needs other samples, which there are in training"):
        eval_loader(Noise(2), Compose((Patchwork(1), resize)), **options)
    with pytest.raises(UserError, match=r"^Until.*only the loader of a training"):
        list(eval_loader(Noise(2), Compose((Until(0.5, resize),)), **options))


@pytest.mark.parametrize("number", [-1, 1.5, "2", None])
def test_a_number_of_others_that_is_none_is_refused(number):
    with pytest.raises(UserError, match=f"Patchwork.*others is {number!r}"):
        stream(transform=Patchwork(number))


def test_a_share_that_is_none_and_too_few_others_are_refused():
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="Until: share"):
            Until(share, AUGMENT)
    with pytest.raises(ValueError, match="needs 3 other samples, but got 1"):
        MIXED(Noise(2).sample(0), np.random.default_rng(0), [Noise(2).sample(1)])


@dataclass(frozen=True)
class NeedsRows:
    """Fails on an image whose rows and pixels do not follow one another."""

    def __call__(self, sample, rng):
        assert sample.image.flags.c_contiguous
        return sample


UNDRAWN = (
    *(RandomFlip(1.0), RandomFlip(0.0, 1.0), RandomFlip(1.0, 1.0)),
    *(ResizeShortestEdge((40,), 90), Letterbox((48, 64), GREY)),
)


@pytest.mark.parametrize("transform", UNDRAWN, ids=str)
def test_no_transform_sees_that_a_picture_is_not_drawn(transform):
    sample, rng = Noise(9).sample(7), np.random.default_rng(0)
    alone = transform(sample, rng)
    whole = Compose((NeedsRows(), transform, NeedsRows(), Compose((RandomFlip(1.0),)), NeedsRows(), RandomFlip(1.0)))
    view = apply_as_view(whole, View.of(sample), rng)
    assert not view.picture.is_source
    for result in (alone, view.plain(), whole(sample, rng), apply(whole, sample, rng)):
        assert result.image.flags.c_contiguous
        np.testing.assert_array_equal(result.image, alone.image)
        np.testing.assert_allclose(result.boxes, alone.boxes, atol=1e-5)
        assert result.scale == alone.scale


def test_what_a_derived_class_changes_is_done():
    class Darker(RandomFlip):
        def __call__(self, sample, rng, others=()):
            flipped = super().__call__(sample, rng)
            return replace(flipped, image=flipped.image // 2)

    class Upside(RandomFlip):
        def as_view(self, view, rng, others=()):
            return View(view.sample, view.picture.mirrored_also(False, True))

    sample, rng = Noise(3).sample(2), np.random.default_rng(0)
    for transform, expected in ((Darker(1.0), sample.image[:, ::-1] // 2), (Upside(), sample.image[::-1])):
        for result in (transform(sample, rng), apply(Compose((transform,)), sample, rng)):
            np.testing.assert_array_equal(result.image, expected)


class Blackened(Compose):
    """However it is made."""

    def __init__(self, *transforms):
        super().__init__(transforms)

    def __call__(self, sample, rng, others=()):
        result = super().__call__(sample, rng, others)
        return replace(result, image=np.zeros_like(result.image))


SMALL = ResizeShortestEdge((40,), 80)


@pytest.mark.parametrize("transform", [SMALL, Until(0.5, SMALL)], ids=str)
def test_a_derived_list_stays_what_it_is_while_its_transforms_change(transform):
    for batch in stream(Noise(9), Blackened(transform, Letterbox((32, 32), GREY)), iterations=4):
        assert not batch.images.any()


def test_a_derived_class_may_change_with_the_training_or_the_batch():
    class Shrinking(Compose):
        def at_progress(self, progress):
            return self.transforms[0] if progress < 0.5 else self.transforms[1]

    class Drawn(Compose):
        def for_batch(self, rng):
            return self.transforms[1]

    class Never(Until):
        def at_progress(self, progress):
            return Letterbox((64, 64), GREY)

    two = Letterbox((64, 64), GREY), Letterbox((32, 32), GREY)
    for transform, expected in (
        (Shrinking(two), [64, 64, 32, 32]),
        (Drawn(two), [32] * 4),
        (Compose((Never(0.0, two[1]),)), [64] * 4),
    ):
        assert [batch.images.shape[2] for batch in stream(Noise(9), transform, iterations=4)] == expected
