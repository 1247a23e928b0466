import numpy as np
import pytest

from otadet.data.synthetic.scenes import draw_scene
from otadet.data.synthetic.shapes import OUTLINES, draw_mask, place


@pytest.mark.parametrize("kind", OUTLINES)
def test_a_mask_fills_the_extent_of_its_polygons(kind):
    polygons = place(OUTLINES[kind], side=37.3, angle=0.7, stretch=1.2, center=np.array((50.2, 41.9)))
    low, high = polygons[0].min(axis=0), polygons[0].max(axis=0)
    assert (high - low).max() == pytest.approx(37.3)
    mask = draw_mask(polygons, rim=2.0)
    rows, columns = np.nonzero(mask.whole > 0)
    first = columns.min() + mask.left, rows.min() + mask.top
    last = columns.max() + mask.left + 1, rows.max() + mask.top + 1
    np.testing.assert_allclose(first, low, atol=1.01)
    np.testing.assert_allclose(last, high, atol=1.01)


def test_masks_have_the_area_of_their_shape():
    square, disc, ring = (
        draw_mask(place(OUTLINES[kind], 60.0, 0.0, 1.0, np.array((40.3, 40.8))), rim=3.0)
        for kind in ("square", "disc", "ring")
    )
    assert square.whole.sum() == pytest.approx(60**2, rel=0.02)
    assert square.inside.sum() == pytest.approx(54**2, rel=0.02)
    assert disc.whole.sum() == pytest.approx(np.pi * 30**2, rel=0.02)
    assert disc.inside.sum() == pytest.approx(np.pi * 27**2, rel=0.02)
    assert ring.whole.sum() == pytest.approx(disc.whole.sum() * (1 - 0.55**2), rel=0.02)


def test_scenes_are_crowded_and_span_three_octaves():
    scenes = [draw_scene(np.random.default_rng(seed), 160, 6) for seed in range(40)]
    boxes = np.concatenate([scene.boxes for scene in scenes])
    longer_side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert np.quantile(longer_side, 0.95) > 5 * np.quantile(longer_side, 0.05)
    assert {label for scene in scenes for label in scene.labels} == set(range(6))
    assert all((scene.boxes >= 0).all() and (scene.boxes <= 160).all() for scene in scenes)
    assert all(len(scene.boxes) >= 3 for scene in scenes)
    overlaps = [
        (np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all()
        for scene in scenes
        for number, a in enumerate(scene.boxes)
        for b in scene.boxes[:number]
    ]
    assert sum(overlaps) > 5 * len(scenes)


@pytest.mark.parametrize("size", [48, 333])
def test_any_size_works(size):
    scene = draw_scene(np.random.default_rng(1), size, 3)
    assert scene.image.shape == (size, size, 3)
    assert scene.labels.max() < 3
