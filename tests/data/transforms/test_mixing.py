"""Mosaic, MixUp and CopyPaste by hand."""

from dataclasses import replace

import numpy as np
import pytest

from otadet.data.transforms import CopyPaste, Letterbox, MixUp, Mosaic
from otadet.data.transforms.mosaic import without_padding
from otadet.errors import UserError
from tests.helpers.painted import COLORS, PAD, extent, painted

GREY = (114, 114, 114)


def filled(number, height=40, width=60):
    """One object that is the whole picture."""
    return painted([[0, 0, width, height]], height, width, first=number)


class Unreadable:
    """Others that must not be looked at."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        raise AssertionError(f"read other {place}")


def test_a_mosaic_has_each_picture_in_its_cell():
    parts = [filled(number) for number in range(4)]
    result = Mosaic(scale=(0.5, 0.5), center=(0.5, 0.5), pad_value=PAD)(parts[0], np.random.default_rng(0), parts[1:])
    assert result.boxes.tolist() == [[0, 0, 30, 20], [30, 0, 60, 20], [0, 20, 30, 40], [30, 20, 60, 40]]
    assert result.labels.tolist() == [0, 1, 2, 3]
    for y, x, label in ((0, 0, 0), (0, 30, 1), (20, 0, 2), (20, 30, 3)):
        assert (result.image[y : y + 20, x : x + 30] == COLORS[label]).all()
    assert (result.file_name, result.image_id, result.original_size) == ("0.png", 0, (40, 60))
    assert result.scale == (0.5, 0.5)


def test_what_is_smaller_than_its_cell_touches_the_point_and_padding_is_around():
    parts = [filled(number) for number in range(4)]
    mosaic = Mosaic(scale=(0.25, 0.25), center=(0.5, 0.5), pad_value=GREY)
    result = mosaic(parts[0], np.random.default_rng(0), parts[1:])
    assert result.boxes.tolist() == [[15, 10, 30, 20], [30, 10, 45, 20], [15, 20, 30, 30], [30, 20, 45, 30]]
    assert (result.image[:10] == 114).all()


def test_what_is_larger_is_cut_and_mostly_hidden_boxes_go():
    parts = [filled(number) for number in range(4)]
    for min_visible, hidden, count, regions in ((0.2, "drop", 4, 0), (0.3, "drop", 0, 0), (0.3, "ignore", 0, 4)):
        mosaic = Mosaic(scale=(1, 1), center=(0.5, 0.5), pad_value=GREY, min_visible=min_visible, hidden=hidden)
        result = mosaic(parts[0], np.random.default_rng(0), parts[1:])
        assert (len(result.boxes), len(result.ignored)) == (count, regions)
        assert not (result.image == 114).all(axis=2).any()


def test_a_mosaic_of_a_stated_size_from_pictures_of_any_size():
    parts = [filled(number, *size) for number, size in enumerate([(40, 60), (80, 120), (20, 30), (400, 600)])]
    mosaic = Mosaic((80, 120), scale=(0.5, 0.5), center=(0.5, 0.5), pad_value=PAD)
    result = mosaic(parts[0], np.random.default_rng(0), parts[1:])
    assert result.image.shape == (80, 120, 3)
    assert result.boxes.tolist() == [[0, 0, 60, 40], [60, 0, 120, 40], [0, 40, 60, 80], [60, 40, 120, 80]]
    assert mosaic.output_size(40, 60) == (80, 120)
    assert replace(mosaic, p=0.5).output_size(40, 60) is None
    assert Mosaic().output_size(40, 60) == (40, 60)


def test_the_padding_of_a_letterbox_is_no_part_of_a_mosaic():
    boxed = Letterbox((60, 60), GREY)(filled(0), np.random.default_rng(0))
    assert without_padding(boxed, GREY).image.shape == (40, 60, 3)
    assert without_padding(boxed, (1, 2, 3)) is boxed
    others = [filled(number) for number in (1, 2, 3)]
    mosaic = Mosaic(scale=(0.5, 0.5), center=(0.5, 0.5), pad_value=GREY)
    result = mosaic(boxed, np.random.default_rng(0), others)
    assert result.boxes.tolist() == [[0, 10, 30, 30], [30, 10, 60, 30], [0, 30, 30, 50], [30, 30, 60, 50]]


def test_mixup_is_the_mean_with_the_boxes_of_both():
    sample, other = painted([[10, 10, 30, 20]], 40, 60), painted([[20, 4, 40, 36]], 80, 120, first=3)
    mixup = MixUp(scale=(1, 1), flip=0.0, pad_value=PAD)
    result = mixup(sample, np.random.default_rng(0), [other])
    assert result.boxes.tolist() == [[10, 10, 30, 20], [10, 2, 20, 18]]
    assert result.labels.tolist() == [0, 3]
    assert abs(result.image[12, 25].astype(int) - COLORS[0] / 2).max() <= 1
    assert abs(result.image[5, 15].astype(int) - COLORS[3] / 2).max() <= 1
    quarter = replace(mixup, share=0.25)(sample, np.random.default_rng(0), [other])
    assert abs(quarter.image[12, 25].astype(int) - COLORS[0] * 0.75).max() <= 1
    mirrored = replace(mixup, flip=1.0)(sample, np.random.default_rng(0), [other])
    assert mirrored.boxes.tolist() == [[10, 10, 30, 20], [40, 2, 50, 18]]


def test_what_a_paste_covers_shrinks_or_goes():
    """The other's only object is as large as it, so that every place of it is known."""
    sample = painted([[0, 0, 60, 20], [0, 20, 60, 40]], 40, 60, ignored=[[0, 0, 60, 20]])
    other = filled(3, 40, 40)
    for seed in range(20):
        paste = CopyPaste(most=1, scale=(0.5, 0.5), min_visible=0.0)
        result = paste(sample, np.random.default_rng(seed), [other])
        pasted = result.boxes[-1]
        assert extent(result.image, 3) == tuple(pasted.astype(int))
        for box, label in zip(result.boxes, result.labels.tolist(), strict=True):
            assert extent(result.image, label) == tuple(box.astype(int))
        assert result.ignored.tolist() == [result.boxes[0].tolist()]


def test_a_box_of_which_less_than_the_share_is_seen_goes():
    sample = painted([[0, 0, 60, 40]], 40, 60)
    other = filled(3)  # pasted at the whole picture's size times 0.8: hides 64 %
    shares = {
        (min_visible, hidden): CopyPaste(1, (0.8, 0.8), 1.0, min_visible, hidden)(
            sample, np.random.default_rng(1), [other]
        )
        for min_visible, hidden in ((0.3, "drop"), (0.4, "drop"), (0.4, "ignore"))
    }
    assert [result.labels.tolist() for result in shares.values()] == [[0, 3], [3], [3]]
    assert [len(result.ignored) for result in shares.values()] == [0, 0, 1]
    assert shares[0.4, "ignore"].ignored.tolist() == shares[0.3, "drop"].boxes[:1].tolist()


def test_what_else_is_in_a_pasted_box_comes_along():
    other = painted([[10, 10, 50, 30], [20, 15, 30, 25], [45, 5, 58, 35]], 40, 60, first=2, ignored=[[0, 0, 60, 40]])
    sample = painted([], 40, 60)
    for seed in range(30):
        result = CopyPaste(most=1, scale=(1, 1))(sample, np.random.default_rng(seed), [other])
        labels = sorted(result.labels.tolist())
        assert labels in ([2, 3], [3], [4]) or labels == [2, 4]
        assert len(result.ignored) == 1
        assert extent(result.image, labels[0]) is not None


def test_pasted_boxes_fit_and_an_other_without_any_changes_nothing():
    sample = painted([], 40, 60)
    result = CopyPaste(most=1, scale=(8, 8))(sample, np.random.default_rng(0), [filled(3, 10, 10)])
    assert result.boxes[0, 2:].tolist() == (result.boxes[0, :2] + 40).tolist()
    assert CopyPaste()(sample, np.random.default_rng(0), [sample]) is sample


@pytest.mark.parametrize("transform", [Mosaic(p=0), MixUp(p=0), CopyPaste(p=0)], ids=str)
def test_others_are_not_read_where_it_does_not_happen(transform):
    sample = filled(0)
    assert transform(sample, np.random.default_rng(0), Unreadable(transform.others)) is sample


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mosaic(scale=(2, 1)), r"^Mosaic: scale 2,1: needs low <= high"),
        (lambda: Mosaic(center=(0.9, 0.1)), r"^Mosaic: center 0.9,0.1: needs low <= high"),
        (lambda: Mosaic(hidden="keep"), "Mosaic: hidden .*choose drop or ignore"),
        (lambda: MixUp(share=1), "MixUp: share 1: must be above 0 and below 1"),
        (lambda: MixUp(scale=(0, 1)), "MixUp: scale 0"),
        (lambda: CopyPaste(most=0), "CopyPaste: most 0"),
    ],
)
def test_impossible_values_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
