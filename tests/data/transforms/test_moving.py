"""RandomAffine and RandomIoUCrop by hand."""

import cv2
import numpy as np
import pytest

from otadet.data.transforms import RandomAffine, RandomIoUCrop
from otadet.errors import UserError
from tests.helpers.painted import PAD, extent, painted

GREY = (114, 114, 114)


def affine(**values):
    return RandomAffine(**{"translate": 0.0, "scale": (1, 1), "pad_value": PAD, **values})


def test_without_any_change_it_is_the_picture():
    sample = painted([[8, 12, 32, 30]])
    result = affine()(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(result.image, sample.image)
    assert result.boxes.tolist() == sample.boxes.tolist()


@pytest.mark.parametrize("scale", [0.3, 0.5, 2.0])
def test_scaling_is_about_the_centre(scale):
    sample = painted([[30, 20, 50, 40]])
    result = affine(scale=(scale, scale))(sample, np.random.default_rng(0))
    half = 10 * scale
    np.testing.assert_allclose(result.boxes, [[40 - half, 30 - half, 40 + half, 30 + half]], rtol=1e-6)
    np.testing.assert_allclose(extent(result.image, 0), result.boxes[0], atol=0.51)
    np.testing.assert_allclose(result.scale, (scale, scale))


def test_shifts_reach_as_far_as_is_said_and_uncover_padding():
    sample = painted([[30, 20, 50, 40]])
    transform = affine(translate=0.25, pad_value=GREY)
    moved = np.array([transform(sample, np.random.default_rng(seed)).boxes[0] for seed in range(200)])
    assert moved[:, 0].min() < 12
    assert moved[:, 0].max() > 48
    assert (abs(moved[:, 0] - 30) <= 20).all()
    assert (abs(moved[:, 1] - 20) <= 15).all()
    image = transform(sample, np.random.default_rng(0)).image
    assert (image == 114).all(axis=2).mean() > 0.02


def test_a_quarter_turn_is_opencvs(monkeypatch):
    sample = painted([[30, 10, 50, 20], [8, 30, 14, 34]], 60, 60)

    class Most:
        """Draws the highest of everything."""

        def random(self):
            return 0.0

        def uniform(self, low, high, size=None):
            return high if size is None else np.full(size, high)

    result = affine(degrees=90)(sample, Most())
    turned = cv2.rotate(sample.image, cv2.ROTATE_90_CLOCKWISE)
    assert abs(result.image.astype(int) - turned).max() <= 1
    for box, label in zip(result.boxes, (0, 1), strict=True):
        np.testing.assert_allclose(box, extent(turned, label), atol=1e-4)


def test_shrinking_averages():
    sample = painted([])
    sample.image[:, ::2] = 255
    small = affine(scale=(0.25, 0.25))(sample, np.random.default_rng(0)).image[25:35, 33:47]
    assert abs(small.astype(int) - 127).max() <= 8


def test_probability():
    sample = painted([[8, 12, 32, 30]])
    rng = np.random.default_rng(0)
    assert sum(affine(p=0.25, scale=(2, 2))(sample, rng) is sample for _ in range(400)) in range(270, 330)
    assert sum(RandomIoUCrop((0.1,), p=0.25, pad_value=PAD)(sample, rng) is sample for _ in range(400)) > 270


@pytest.mark.parametrize("overlap", [0.1, 0.3, 0.5])
def test_a_crop_has_the_overlap_with_some_box(overlap):
    sample = painted([[10, 10, 40, 40], [50, 30, 58, 36]], 60, 60)
    transform = RandomIoUCrop((overlap,), trials=300, pad_value=PAD)
    for seed in range(50):
        crop = transform._crop(sample, overlap, np.random.default_rng(seed))
        assert crop is not None
        x1, y1, x2, y2 = crop
        common = max(0, min(x2, 40) - max(x1, 10)) * max(0, min(y2, 40) - max(y1, 10))
        iou = common / (900 + (x2 - x1) * (y2 - y1) - common)
        second = max(0, min(x2, 58) - max(x1, 50)) * max(0, min(y2, 36) - max(y1, 30))
        assert max(iou, second / (48 + (x2 - x1) * (y2 - y1) - second)) >= overlap
        assert max(x2 - x1, y2 - y1) <= 2 * min(x2 - x1, y2 - y1)
        result = transform(sample, np.random.default_rng(seed))
        assert result.image.shape == (60, 60, 3)
        assert len(result.boxes) >= 1


def test_a_picture_without_boxes_or_a_right_crop_stays():
    empty, thin = painted([]), painted([[0, 0, 80, 1]])
    rng = np.random.default_rng(0)
    assert RandomIoUCrop((0.0,), pad_value=PAD)(empty, rng) is empty
    assert RandomIoUCrop((1.0,), pad_value=PAD)(thin, rng) is thin
    assert RandomIoUCrop((0.9,), pad_value=PAD)(thin, rng) is thin


def test_a_crop_is_scaled_up_and_padded():
    sample = painted([[20, 20, 40, 40]], 60, 60)
    scales = [RandomIoUCrop((0.3,), pad_value=GREY)(sample, np.random.default_rng(seed)) for seed in range(30)]
    assert any((result.image == 114).all(axis=2).any() for result in scales)
    for result in scales:
        assert result.scale[0] >= 1
        np.testing.assert_allclose(result.scale[0], result.scale[1], rtol=0.06)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomAffine(scale=(2, 1)), "RandomAffine: scale 2,1: needs low <= high"),
        (lambda: RandomAffine(degrees=200), "RandomAffine: degrees 200"),
        (lambda: RandomIoUCrop(()), "RandomIoUCrop: overlaps"),
        (lambda: RandomIoUCrop(side=(0.5, 0.2)), "RandomIoUCrop: side 0.5,0.2"),
        (lambda: RandomAffine()(painted([]), np.random.default_rng(0)), "RandomAffine.*needs a pad_value"),
    ],
)
def test_impossible_values_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
