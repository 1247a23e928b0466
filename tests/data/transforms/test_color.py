import numpy as np

from otadet.data.transforms import ColorJitter, Sample


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
