"""Pictures that are drawn when their place in a batch is known, and read no earlier."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otadet.data.dataset import DetectionDataset
from otadet.data.loader import eval_loader
from otadet.data.sample import Sample
from otadet.data.transforms import ColorJitter, Compose, Letterbox, RandomFlip, ResizeShortestEdge
from otadet.data.transforms.compose import apply_as_view
from otadet.data.view import Picture, View
from otadet.errors import UserError
from tests.helpers.coco import coco_dataset
from tests.helpers.noise_images import GREY, Noise, assert_same, stream

FLIPS = st.builds(RandomFlip, st.sampled_from((0.0, 0.5, 1.0)), st.sampled_from((0.0, 0.5, 1.0)))
SIDES = st.integers(1, 60)
SHRINK = st.sampled_from(("area", "linear"))
RESIZES = st.builds(ResizeShortestEdge, st.tuples(SIDES), SIDES, SHRINK)
BOXED = st.builds(Letterbox, st.tuples(SIDES, SIDES), st.just(GREY), SHRINK)


@settings(max_examples=80)
@given(st.lists(st.one_of(FLIPS, RESIZES, BOXED), max_size=4), st.integers(0, 2**32))
def test_drawing_at_the_end_is_drawing_after_each(transforms, seed):
    sample = Noise(9).sample(8)
    late = Compose(tuple(transforms))(sample, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    for transform in transforms:
        sample = transform(sample, rng)
    np.testing.assert_array_equal(late.image, sample.image)
    np.testing.assert_array_equal(late.boxes, sample.boxes)
    np.testing.assert_array_equal(late.ignored, sample.ignored)
    assert late.scale == sample.scale


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.tuples(st.booleans(), st.booleans()))
def test_a_picture_is_resized_then_padded_then_mirrored(size, more, mirrored):
    image = np.random.default_rng(0).integers(0, 256, (31, 23, 3), dtype=np.uint8)
    padded = size[0] + more[0], size[1] + more[1]
    expected = np.empty((*padded, 3), np.uint8)
    expected[...] = GREY
    expected[: size[0], : size[1]] = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    expected = expected[:: -1 if mirrored[1] else 1, :: -1 if mirrored[0] else 1]
    picture = Picture.of(image).resized(size, "linear", padded, GREY).mirrored_also(*mirrored)
    np.testing.assert_array_equal(picture.pixels(), expected)
    canvas = np.full((padded[0] + 2, padded[1] + 3, 3), 7, np.uint8)
    picture.draw(canvas[1:-1, 2:-1])
    np.testing.assert_array_equal(canvas[1:-1, 2:-1], expected)
    canvas[1:-1, 2:-1] = 7
    assert (canvas == 7).all()


def test_what_nothing_is_done_to_is_not_copied():
    sample = Noise(3).sample(1)
    assert View.of(sample).plain() is sample
    twice = Picture.of(sample.image).mirrored_also(True, True).mirrored_also(True, True)
    assert twice.is_source
    assert twice.pixels() is sample.image


RESIZE = ResizeShortestEdge((32,), 80)


@pytest.fixture
def files(tmp_path: Path) -> DetectionDataset:
    """Nine images, of which the fourth and the eighth were damaged after they had been looked at."""
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for number in range(9):
        height, width = (40, 50 + number) if number % 3 else (60, 40)
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        images.append({"id": number, "file_name": f"{number}.jpg", "height": height, "width": width})
        for box in range(number % 3):
            boxes.append({"id": len(boxes), "image_id": number, "category_id": box, "bbox": [3 + box, 4, 20, 25]})
    classes = [{"id": number, "name": str(number)} for number in range(3)]
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": classes}))
    dataset = coco_dataset(path, tmp_path)
    for number in (3, 7):
        damaged = tmp_path / f"{number}.jpg"
        damaged.write_bytes(damaged.read_bytes()[:400])
    return dataset


class Read:
    """The same samples, each read at once."""

    def __init__(self, dataset: DetectionDataset) -> None:
        self._dataset = dataset
        self.sizes = dataset.sizes

    def __len__(self) -> int:
        return len(self._dataset)

    def sample(self, index: int) -> Sample:
        return self._dataset.sample(index)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("group_by_aspect", [False, True])
def test_what_is_read_when_it_is_drawn_trains_as_what_is_read_at_once(files, workers, group_by_aspect):
    transform = Compose((RESIZE, RandomFlip(0.5, 0.5)))
    options = {"unreadable": "skip", "iterations": 9, "group_by_aspect": group_by_aspect, "workers": workers}
    expected = stream(Read(files), transform, **options)
    assert not {3, 7} & {image_id for batch in expected for image_id in batch.image_ids}
    assert_same(stream(files, transform, **options), expected)
    jittered = Compose((RESIZE, RandomFlip(), ColorJitter()))
    assert_same(stream(files, jittered, **options), stream(Read(files), jittered, **options))
    with pytest.raises(UserError, match=r"(3|7)\.jpg: cannot be read"):
        stream(files, transform, **{**options, "unreadable": "fail"})


TWO_CHANGES = (Compose((RandomFlip(1.0), RESIZE)), Compose((RESIZE, Letterbox((48, 48), GREY), RandomFlip(), RESIZE)))


@pytest.mark.parametrize("transform", TWO_CHANGES, ids=str)
def test_a_change_of_a_changed_picture_reads_it_no_earlier(files, transform):
    options = {"unreadable": "skip", "iterations": 9}
    assert_same(stream(files, transform, **options), stream(Read(files), transform, **options))
    view = apply_as_view(transform, files.view(3), np.random.default_rng(0))
    with pytest.raises(UserError, match=r"3\.jpg: cannot be read"):
        view.plain()


@pytest.mark.parametrize(
    "transform", [RESIZE, Letterbox((48, 48), GREY), Compose((RESIZE, ColorJitter())), *TWO_CHANGES], ids=str
)
def test_evaluation_leaves_out_what_cannot_be_drawn(files, transform):
    options = {"batch_size": 4, "pad_value": GREY, "size_divisor": 32, "unreadable": "skip"}
    left_out: dict[int, str] = {}
    batches = list(eval_loader(files, transform, left_out=left_out, **options))
    assert sorted(image_id for batch in batches for image_id in batch.image_ids) == [0, 1, 2, 4, 5, 6, 8]
    assert sorted(left_out) == [3, 7]
    assert_same(batches, list(eval_loader(Read(files), transform, **options)))
    with pytest.raises(UserError, match=r"(3|7)\.jpg: cannot be read"):
        list(eval_loader(files, transform, **{**options, "unreadable": "fail"}))


def test_a_data_set_may_be_given_another_method(files):
    read, sample = [], files.sample
    files.sample = lambda index: read.append(index) or sample(index)
    stream(files, RESIZE, unreadable="skip")
    assert {*read} == {*range(9)}


def test_a_derived_data_set_may_change_its_samples(files):
    class Black(DetectionDataset):
        def sample(self, index):
            found = super().sample(index)
            found.image[:] = 0
            return found

    files.__class__ = Black
    for batch in stream(files, RESIZE, unreadable="skip"):
        assert not batch.images[:, :, :32, :32].any()
