import cv2
import numpy as np
import pytest

from otadet.data.pixels import filled, padded, paste, resize, unmirrored

SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (161, 243, 3), dtype=np.uint8), (0, 0), 4)


def test_filled_is_numpys():
    np.testing.assert_array_equal(filled(3, 5, (1, 2, 3)), np.full((3, 5, 3), (1, 2, 3), np.uint8))
    assert filled(0, 4, (1, 2, 3)).shape == (0, 4, 3)
    assert (padded(SMOOTH, (170, 250), (1, 2, 3))[165:] == (1, 2, 3)).all()


@pytest.mark.parametrize("size", [(100, 150), (81, 122), (40, 61), (17, 20), (161, 30), (300, 300)])
def test_halves_are_almost_the_area(size):
    halves, area = (resize(SMOOTH, *size, shrink).astype(int) for shrink in ("halves", "area"))
    assert halves.shape == (*size, 3)
    # A shift by half a pixel would be seen: neighbours differ by more.
    assert abs(halves - area).mean() < 1.5
    assert abs(halves - np.roll(area, 1, axis=1)).mean() > 1.5 * abs(halves - area).mean()


def test_halves_average_fine_texture():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    for side in (32, 16, 13):
        small = resize(stripes, side, side, "halves")
        assert abs(int(cv2.mean(small)[0]) - 127) <= 1
        assert small.std() < 2


@pytest.mark.parametrize("rows", [slice(None), slice(None, None, -1)])
@pytest.mark.parametrize("columns", [slice(None), slice(None, None, -1)])
def test_mirrored_views_are_copied_as_numpy_does(rows, columns):
    view = SMOOTH[rows, columns]
    target = np.zeros((200, 300, 3), np.uint8)
    paste(view, target, 10, -7)
    np.testing.assert_array_equal(target[10:171, :236], view[:, 7:])
    assert not target[171:].any()
    plain = unmirrored(view)
    np.testing.assert_array_equal(plain, view)
    assert plain.flags.c_contiguous
    assert (plain is view) == view.flags.c_contiguous
