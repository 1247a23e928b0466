import cv2
import numpy as np
import pytest

from otadet.data.pixels import fill_padding, filled, padded, paste, resize

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


def test_padding_is_filled_and_nothing_else():
    canvas = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    for size in ((9, 12), (9, 5), (4, 12), (3, 2)):
        expected = canvas.copy()
        expected[size[0] :] = (1, 2, 3)
        expected[:, size[1] :] = (1, 2, 3)
        fill_padding(canvas, size, (1, 2, 3))
        np.testing.assert_array_equal(canvas, expected)


@pytest.mark.parametrize("shrink", ["area", "linear", "halves"])
@pytest.mark.parametrize("size", [(161, 243), (50, 70), (200, 300)])
def test_pixels_are_resized_into_a_part_of_another_array(size, shrink):
    canvas = np.full((size[0] + 2, size[1] + 2, 3), 9, np.uint8)
    resize(SMOOTH, *size, shrink, out=canvas[1:-1, 1:-1])
    np.testing.assert_array_equal(canvas[1:-1, 1:-1], resize(SMOOTH, *size, shrink))
    canvas[1:-1, 1:-1] = 9
    assert (canvas == 9).all()
