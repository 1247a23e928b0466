import colorsys

import numpy as np

from otadet.data.transforms import ColorJitter, PhotometricDistortion, RandomHSV, Sample


def test_color_jitter_multiplies_brightness():
    image = np.full((8, 8, 3), 100, np.uint8)
    sample = Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 0, "grey.png", (8, 8))
    rng = np.random.default_rng(0)
    values = np.array([ColorJitter(0.5, 0, 0)(sample, rng).image[0, 0, 0] for _ in range(200)])
    assert 50 <= values.min() < 60
    assert 140 < values.max() <= 150


def test_color_jitter_equals_the_three_steps_one_by_one():
    image = np.random.default_rng(0).integers(60, 160, (16, 16, 3), dtype=np.uint8)
    sample = Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 0, "noise.png", (16, 16))
    result = ColorJitter(0.3, 0.3, 0.3)(sample, np.random.default_rng(1)).image
    brightness, contrast, saturation = 1 + 0.3 * np.random.default_rng(1).uniform(-1, 1, size=3)
    luma = np.array((0.299, 0.587, 0.114))
    bright = image * brightness
    contrasted = (bright - (bright @ luma).mean()) * contrast + (bright @ luma).mean()
    grey = (contrasted @ luma)[..., None]
    expected = grey + (contrasted - grey) * saturation
    assert np.abs(result - expected.clip(0, 255)).max() <= 1


def of(image) -> Sample:
    return Sample(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 0, "noise.png", image.shape[:2])


NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_hsv_turns_the_hue_and_multiplies_the_rest():
    red = of(np.full((4, 4, 3), (200, 40, 40), np.uint8))
    for seed in range(20):
        drawn = np.random.default_rng(seed).uniform(-1, 1, size=3)
        hue, saturation, value = drawn * (0.1, 0.3, 0.2)
        result = RandomHSV(0.1, 0.3, 0.2)(red, np.random.default_rng(seed)).image[0, 0] / 255
        expected = colorsys.hsv_to_rgb(hue % 1, 0.8 * (1 + saturation), 200 / 255 * (1 + value))
        assert np.abs(result - np.clip(expected, 0, 1)).max() < 0.03


def test_hsv_without_gains_is_almost_the_picture():
    result = RandomHSV(0, 0, 0)(of(NOISE), np.random.default_rng(0)).image
    assert np.abs(result.astype(int) - NOISE).max() <= 8
    assert np.abs(result.astype(int) - NOISE).mean() < 1


def test_photometric_distortion_without_chance_changes_nothing():
    assert PhotometricDistortion(p=0)(of(NOISE), np.random.default_rng(0)).image is NOISE


def test_photometric_brightness_and_contrast_by_hand():
    grey = of(np.full((4, 4, 3), 100, np.uint8))
    values = np.array(
        [PhotometricDistortion(30, 0, 0, 0, p=1)(grey, np.random.default_rng(s)).image[0, 0, 0] for s in range(300)]
    )
    assert 70 <= values.min() < 75
    assert 125 < values.max() <= 130
    values = np.array(
        [PhotometricDistortion(0, 0.5, 0, 0, p=1)(grey, np.random.default_rng(s)).image[0, 0, 0] for s in range(300)]
    )
    assert 50 <= values.min() < 55
    assert 145 < values.max() <= 150


def test_photometric_contrast_comes_first_or_last_with_the_brightness_in_it():
    grey = of(np.full((4, 4, 3), 100, np.uint8))
    found = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        drawn = np.array((32, 0.5, 0, 0)) * rng.uniform(-1, 1, size=4)
        result = int(PhotometricDistortion(32, 0.5, 0, 0, p=1)(grey, np.random.default_rng(seed)).image[0, 0, 0])
        assert abs(result - (100 + drawn[0]) * (1 + drawn[1])) <= 2
        found.add(result)
    assert len(found) > 30


def test_channels_change_places_where_that_is_wanted():
    image = np.full((4, 4, 3), (10, 100, 200), np.uint8)
    found = {
        tuple(PhotometricDistortion(p=0, swap=1)(of(image), np.random.default_rng(s)).image[0, 0].tolist())
        for s in range(60)
    }
    assert len(found) == 6
    assert all(sorted(color) == [10, 100, 200] for color in found)
