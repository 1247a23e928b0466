"""Validation splits that are made: functions of the names, with groups kept together."""

import numpy as np
import pytest

from otadet.data.made_split import check_group, group_of, groups_of, in_val
from otadet.errors import UserError

NAMES = [f"{number:03}.jpg" for number in range(50)]


def chosen(names, *args):
    return {name for name, is_val in zip(names, in_val(names, *args), strict=True) if is_val}


def test_the_share_is_met_and_the_order_has_no_say():
    for share, number in ((0.2, 10), (0.5, 25), (0.01, 1), (0.999, 49)):
        assert len(chosen(NAMES, share, 0)) == number
    assert chosen(NAMES, 0.2, 0) == chosen(NAMES[::-1], 0.2, 0)
    assert chosen(NAMES, 0.2, 0) != chosen(NAMES, 0.2, 1)


def test_a_new_image_moves_few_of_the_others():
    before, after = chosen(NAMES, 0.2, 0), chosen([*NAMES, "new.jpg"], 0.2, 0)
    assert len(before ^ after) <= 2


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a/fish.rf.0f3c5a7b9d.jpg", "a/fish"),
        ("IMG_2274_jpeg_jpg.rf.aaaabbbbccccdddd.jpg", "IMG_2274_jpeg_jpg"),
        ("dive_mp4-12_jpg.rf.0123456789abcdef.jpg", "dive"),
        ("dive_mp4-13_jpg.rf.fedcba9876543210.jpg", "dive"),
        ("street_frame_0012.png", "street"),
        ("street.frame0001.png", "street"),
        ("IMG_0001.jpg", "IMG_0001"),
        ("0001.jpg", "0001"),
        ("framed1.jpg", "framed1"),
    ],
)
def test_what_stays_together_by_default(name, key):
    assert group_of(name) == key


def test_groups_are_not_torn():
    names = [f"clip{clip}_frame_{frame}.jpg" for clip in range(10) for frame in range(clip + 1)]
    assert groups_of(names) == 10
    val = chosen(names, 0.3, 0)
    train = set(names) - val
    assert val
    assert not {name.split("_")[0] for name in val} & {name.split("_")[0] for name in train}
    assert abs(len(val) - 0.3 * len(names)) <= 5


def test_groups_by_an_expression():
    names = [f"{folder}/{number}.jpg" for folder in "abcd" for number in range(5)] + ["loose.jpg"]
    val = chosen(names, 0.25, 0, "^([^/]+)/")
    assert len(val - {"loose.jpg"}) == 5
    assert len({name.split("/")[0] for name in val - {"loose.jpg"}}) == 1
    assert groups_of(names, "^([^/]+)/") == 5


def test_one_large_group_does_not_take_all():
    names = [f"clip_frame_{number}.jpg" for number in range(98)] + ["a.jpg", "b.jpg"]
    val = in_val(names, 0.2, 0)
    assert 1 <= val.sum() <= 2
    assert not val[:98].any()


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "there are no images; add"),
        (["a.jpg"], "there is one image alone; add"),
        (["a_frame_1.jpg", "a_frame_2.jpg"], "its 2 images are all of one group"),
    ],
)
def test_what_cannot_be_parted(names, problem):
    with pytest.raises(UserError, match=f"no validation split can be made: {problem}"):
        in_val(names, 0.2, 0)


def test_names_of_any_bytes():
    assert np.count_nonzero(in_val(["\udc80.jpg", "b.jpg"], 0.5, 0)) == 1


@pytest.mark.parametrize("group", ["(", "abc", "(?:a)"])
def test_an_expression_needs_a_group(group):
    with pytest.raises(UserError, match=r"group .*: (is no regular expression|needs a part in brackets)"):
        check_group(group)
    check_group("(a)")
