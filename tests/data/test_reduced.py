"""Images that are decoded at a part of their size: the same picture, its boxes in the same places, never enlarged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.coco import read_coco
from otadet.data.images import DEFAULT, UPRIGHT, read_image, read_reduced
from otadet.data.loader import train_loader
from otadet.data.reduce import largest_reductions
from otadet.data.sample import Sample
from otadet.data.transforms import (
    ColorJitter,
    Compose,
    CopyPaste,
    Letterbox,
    MixUp,
    Mosaic,
    MultiScale,
    RandomFlip,
    ResizeShortestEdge,
    Until,
)
from otadet.data.transforms.another import size_within
from otadet.data.transforms.needed import needed_size
from otadet.errors import UserError

GREY = (124, 116, 104)


def smooth(height: int, width: int) -> np.ndarray:
    """(height, width, 3): no two places look alike, and neighbours do."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return (255 * np.stack((y, x, (x + y) / 2), axis=-1)).astype(np.uint8)


def saved(path: Path, pixels: np.ndarray, orientation: int = 1, **options: object) -> Path:
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


def box_means(pixels: np.ndarray, reduction: int) -> np.ndarray:
    """An independent way to the same: the mean of each whole square."""
    height, width = (side // reduction for side in pixels.shape[:2])
    squares = pixels[: height * reduction, : width * reduction].astype(float)
    return squares.reshape(height, reduction, width, reduction, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.tif"])
@pytest.mark.parametrize("size", [(160, 240), (163, 245)])
def test_a_reduced_picture_is_the_mean_of_squares_of_the_whole(tmp_path, name, size, reduction):
    path = saved(tmp_path / name, smooth(*size), quality=95)
    image, whole = read_reduced(path, reduction)
    assert whole == size
    assert image.flags["C_CONTIGUOUS"]
    expected = box_means(read_image(path), reduction)
    assert image.shape == expected.shape
    assert abs(image - expected).max() < 3
    assert abs(image - expected).mean() < 0.7


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("size", [(64, 96), (67, 101)])
def test_the_orientation_is_that_of_the_whole(tmp_path, name, size, orientation):
    path = saved(tmp_path / name, smooth(*size), orientation, quality=95)
    for options in (DEFAULT, UPRIGHT):
        image, whole = read_reduced(path, 4, options)
        full = read_image(path, options)
        assert whole == full.shape[:2]
        assert abs(image - box_means(full, 4)).max() < 6


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "CMYK", "progressive"])
def test_every_kind_of_pixel(tmp_path, mode):
    colour = Image.fromarray(smooth(64, 96))
    path = tmp_path / ("a.jpg" if mode in ("CMYK", "progressive") else "a.png")
    if mode == "I;16":
        Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        converted = colour if mode == "progressive" else colour.convert(mode)
        converted.save(path, **({"progressive": True} if mode == "progressive" else {}))
    image, _ = read_reduced(path, 2)
    assert image.shape == (32, 48, 3)
    assert image.dtype == np.uint8
    assert abs(image - box_means(read_image(path), 2)).mean() < 3


@pytest.mark.parametrize("reduction", [1, 2, 8])
def test_damage_is_found_all_the_same(tmp_path, reduction):
    rng = np.random.default_rng(0)
    data = bytearray(saved(tmp_path / "a.jpg", rng.integers(0, 256, (128, 128, 3), np.uint8)).read_bytes())
    for cut in (data[: len(data) // 2], data[: len(data) // 2] + bytes(300) + data[len(data) // 2 + 300 :]):
        (tmp_path / "b.jpg").write_bytes(cut)
        with pytest.raises(UserError, match=r"b\.jpg: cannot be read as an image"):
            read_reduced(tmp_path / "b.jpg", reduction)


sides = st.integers(1, 5000)


@given(sides, sides, st.integers(1, 900), st.integers(1, 1400))
def test_a_reduced_image_is_as_large_as_needed_and_half_of_it_would_not_be(height, width, short, long):
    resize = ResizeShortestEdge((short,), long)
    (reduction,) = largest_reductions(np.array([[height, width]]), resize.needed_size).tolist()
    needed = resize.needed_size(height, width)
    assert reduction in (1, 2, 4, 8)
    if reduction > 1:
        assert height // reduction >= needed[0]
        assert width // reduction >= needed[1]
    if reduction < 8:
        assert height // (2 * reduction) < needed[0] or width // (2 * reduction) < needed[1]


class Quarters:
    """A transform that needs another sample, at half the size that images have where it stands."""

    others = 1

    def __call__(self, sample: Sample, rng: np.random.Generator, others: list[Sample]) -> Sample:
        return sample

    def needed_size(self, height: int, width: int) -> tuple[int, int]:
        return height // 2, width // 2


class Silent(Quarters):
    needed_size = None


class Large(Quarters):
    def needed_size(self, height: int, width: int) -> tuple[int, int]:
        return 3 * height, 2 * width


class Cropping(Compose):
    """Of a derived class, which may look at the whole picture first."""

    def __call__(self, sample, rng, others=()):
        return super().__call__(replace(sample, image=sample.image[:50, :50]), rng, others)


RESIZE, BOX = ResizeShortestEdge((60, 100), 150), Letterbox((90, 90), GREY)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (RESIZE, (100, 150)),
        (BOX, (60, 90)),
        (Compose((RESIZE, RandomFlip(), ColorJitter())), (100, 150)),
        (Compose((Compose((BOX,)), RESIZE)), (60, 90)),
        (Compose((Until(0.5, RESIZE), BOX)), (100, 150)),
        (Compose((RESIZE, Quarters())), (100, 150)),
        (Compose((RESIZE, Large())), (300, 300)),
        (Compose((RESIZE, Until(0.9, Large()))), (300, 300)),
        (Compose((RESIZE, Silent())), None),
        (Compose((MultiScale((BOX, RESIZE)), RandomFlip())), (100, 150)),
        (Compose((RESIZE, Mosaic(scale=(0.5, 1.2)), RandomFlip())), (120, 180)),
        (Compose((RESIZE, Mosaic(size=(300, 300)))), (200, 300)),
        (Compose((RESIZE, Mosaic(size=(300, 300)), MixUp(scale=(0.5, 1.5)))), (300, 450)),
        (Compose((BOX, MixUp(), CopyPaste(scale=(0.5, 2.0)))), (180, 270)),
        (Compose((ColorJitter(), RESIZE)), None),
        (Compose(()), None),
        (Cropping((RESIZE,)), None),
        (Compose((BOX, Cropping((RESIZE,)))), (60, 90)),
        (RandomFlip(), None),
        (lambda sample, rng: sample, None),
    ],
)
def test_what_a_transform_needs(transform, expected):
    assert needed_size(transform, 400, 600) == expected


@given(sides, sides, sides, sides, st.sampled_from([RESIZE, BOX, MultiScale((BOX, RESIZE))]))
def test_others_are_as_large_as_mosaic_has_them(height, width, other_height, other_width, resize):
    """Whatever the size of the picture that they are mixed into."""
    needed = needed_size(Compose((resize, Mosaic(scale=(0.5, 1.2)))), other_height, other_width)
    for one in getattr(resize, "resizes", (resize,)):
        canvas = one.output_size(height, width) or one.needed_size(height, width)
        tile = size_within(other_height, other_width, *canvas, scale=1.2)
        assert tile[0] <= needed[0] + 1
        assert tile[1] <= needed[1] + 1


@pytest.fixture
def large(tmp_path: Path) -> Callable[[], DetectionDataset]:
    """Two images of 403 x 601 with a dark object each on a bright ground, one of them a small picture."""
    images, annotations = [], []
    for number, (height, width) in enumerate([(403, 601), (403, 601), (40, 60)]):
        pixels = np.full((height, width, 3), 250, np.uint8)
        x, y, w, h = (width // 3, height // 4, width // 6, height // 3)
        pixels[y : y + h, x : x + w] = 10
        saved(tmp_path / f"{number}.jpg", pixels, quality=95)
        images.append({"id": number, "file_name": f"{number}.jpg", "height": height, "width": width})
        ignored = {"bbox": [width - 9.0, 0, 9, height], "iscrowd": 1}
        for what in ({"bbox": [x, y, w, h], "iscrowd": 0}, ignored, {"bbox": [width - 0.6, 5, 0.5, 3], "iscrowd": 0}):
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 1, **what})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "box"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return lambda: DetectionDataset(read_coco(tmp_path / "a.json", tmp_path))


def test_boxes_go_with_the_pixels_and_back_to_the_file(large):
    whole = large()
    dataset = whole.reduced_for(RESIZE)
    assert dataset.images.reductions.tolist() == [4, 4, 1]
    sample, full = dataset.sample(0), whole.sample(0)
    assert sample.image.shape == (100, 150, 3)
    assert sample.original_size == (403, 601)
    assert sample.scale == (0.25, 0.25)
    np.testing.assert_array_equal(sample.boxes / 0.25, full.boxes[:1])
    # 0.5 pixels at the border are beyond the last whole square.
    assert len(full.boxes) == 2
    assert len(sample.boxes) == len(sample.labels) == 1
    np.testing.assert_array_equal(sample.ignored, [[148, 0, 150, 100]])
    x1, y1, x2, y2 = (round(float(corner)) for corner in sample.boxes[0])
    assert sample.image[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].max() < 40
    assert min(sample.image[y1 - 2].min(), sample.image[:, x2 + 2].min()) > 220
    assert whole.images.reductions.tolist() == [1, 1, 1], "the data set itself is as it was"
    assert full.scale == (1, 1)


def test_what_is_found_in_a_resized_picture_leads_back_to_the_file(large):
    for transform in (RESIZE, BOX):
        sample = transform(large().reduced_for(transform).sample(0), np.random.default_rng(0))
        found = sample.boxes[0] / np.array(sample.scale * 2)
        np.testing.assert_allclose(found, [200, 100, 300, 234], atol=1e-3)


def test_small_images_are_not_touched(large):
    whole, dataset = large(), large().reduced_for(RESIZE)
    one, other = whole.sample(2), dataset.sample(2)
    assert (one.image == other.image).all()
    assert (one.boxes == other.boxes).all()


def test_batches_are_nearly_those_of_whole_images(large):
    def batches(dataset):
        transform = Compose((RESIZE, RandomFlip(0.5)))
        return list(train_loader(dataset, transform, batch_size=2, iterations=3, pad_value=GREY, size_divisor=32))

    for one, other in zip(batches(large()), batches(large().reduced_for(RESIZE)), strict=True):
        assert one.image_ids == other.image_ids
        assert one.original_sizes == other.original_sizes
        assert one.images.shape == other.images.shape
        assert (one.images.float() - other.images.float()).abs().mean() < 3


def test_a_file_of_another_size_than_annotated_is_found(large, tmp_path):
    dataset = large().reduced_for(RESIZE)
    # One that has as many pixels when it is reduced.
    cv2.imwrite(str(tmp_path / "0.jpg"), smooth(402, 600))
    with pytest.raises(UserError, match=r"0\.jpg: has 600 x 402 pixels, but its annotations are for 601 x 403"):
        dataset.sample(0)
    (tmp_path / "1.jpg").rename(tmp_path / "1.JPG")
    with pytest.raises(UserError, match=r"1.jpg: no such image file.*1.JPG"):
        dataset.sample(1)
