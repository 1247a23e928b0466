"""Which files belong together by their names."""

from __future__ import annotations

import pytest

from otadet.data.check.groups import group_of


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("train/a_jpg.rf.0123456789abcdef.jpg", "valid/a_jpg.rf.fedcba9876543210.jpg", True),
        ("a_jpg.rf.0123456789abcdef.jpg", "b_jpg.rf.0123456789abcdef.jpg", False),
        ("walk_frame_001.png", "val/walk_frame_940.png", True),
        ("clip3_0001.png", "other/clip3_0002.png", True),
        ("clip3_0001.png", "clip4_0001.png", False),
        ("IMG_8571_MOV-0_jpg.jpg", "IMG_8571_MOV-5_jpg.jpg", True),
        ("IMG_0001.jpg", "IMG_0002.jpg", False),
        ("000001.jpg", "000002.jpg", False),
        ("a.jpg", "b.jpg", False),
    ],
)
def test_groups(one, other, together):
    assert (group_of(one) == group_of(other)) is together


def test_what_says_so_is_certain():
    assert group_of("walk_frame_001.png").certain
    assert not group_of("clip3_0001.png").certain


@pytest.mark.parametrize("name", ["IMG_0001.jpg", "val/000001.jpg", "a.jpg"])
def test_what_says_nothing_is_alone(name):
    """Each split may count its own pictures from 1."""
    assert group_of(name).alone
    assert not group_of("clip3_0001.png").alone
