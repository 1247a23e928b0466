import json
import os
import re
import sys
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from otadet.data.image_names import SimilarNames
from otadet.data.images import UPRIGHT, ReadOptions
from otadet.errors import UserError
from tests.helpers.coco import coco_dataset

CAFE = "caf\u00e9 1.png"


def images(folder, number=3, dtype=np.uint8, top=255, **options):
    """Noise of 30 x 20 pixels: 0.png, 1.png, ..."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for n in range(number):
        shape = (20, 30, 3) if dtype == np.uint8 else (20, 30)
        pixels = rng.integers(0, top + 1, shape).astype(dtype)
        pixels[0, 0] = top
        Image.fromarray(pixels).save(folder / f"{n}.png", **options)


def dataset(folder, names, size=(20, 30), **options):
    content = {
        "images": [
            {"id": n, "file_name": name, **({"height": size[0], "width": size[1]} if size else {})}
            for n, name in enumerate(names)
        ],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [2, 3, 10, 8]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (folder.parent / "boxes.json").write_text(json.dumps(content))
    return coco_dataset(folder.parent / "boxes.json", folder, **options)


@pytest.fixture
def turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    images(tmp_path / "images", number=2, exif=exif)
    Image.new("RGB", (30, 20)).save(tmp_path / "images/2.png")
    return tmp_path / "images"


NAMES = ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("size", [(20, 30), None])
def test_files_with_an_orientation_are_counted(turned, size):
    (warning,) = dataset(turned, NAMES, size).warnings
    assert warning.startswith("2 of 3 image files have an EXIF orientation")
    assert "exif_orientation true" in warning


def test_boxes_of_upright_pictures(turned):
    with pytest.raises(UserError, match=r"2 of its 2 images(.|\n)*EXIF orientation turns it.*exif_orientation true"):
        dataset(turned, NAMES[:2], (30, 20))
    found = dataset(turned, NAMES, None, options=UPRIGHT)
    assert found.warnings == []
    assert [found.sample(row).image.shape[:2] for row in range(3)] == [(30, 20), (30, 20), (20, 30)]
    np.testing.assert_array_equal(found.sample(0).image, np.rot90(dataset(turned, NAMES, None).sample(0).image, k=-1))


def test_boxes_of_stored_pictures_while_the_orientation_is_applied(turned):
    with pytest.raises(UserError, match="set exif_orientation false"):
        dataset(turned, NAMES, (20, 30), options=UPRIGHT)


@pytest.mark.parametrize(
    ("top", "bits", "said"),
    [
        (254, 16, r"use 0\.4 % of their range \(values up to 254 in 3 of 3 .*set image_bits 8"),
        (4095, 16, r"use 6 % of their range .*set image_bits 12"),
        (40_000, 16, None),
        (4095, 12, None),
        (4095, 8, r"image_bits is 8, but .*above 255 is white: image_bits 12"),
    ],
)
def test_the_range_of_16_bit_files(tmp_path, top, bits, said):
    images(tmp_path / "images", dtype=np.uint16, top=top)
    warnings = dataset(tmp_path / "images", NAMES, options=ReadOptions(bits=bits)).warnings
    if said is None:
        assert warnings == []
    else:
        assert len(warnings) == 1
        assert re.search(said, warnings[0])


@pytest.mark.parametrize("prescan", [True, False])
@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("Sub\\1.png", "sub/1.png"),
        ("caf%C3%A9%201.png", CAFE),
        (CAFE, normalize("NFD", CAFE)),
        (normalize("NFD", CAFE), CAFE),
        ("1.PNG", "1.png"),
        ("./Photos//1.jpg", "photos/1.jpg"),
    ],
)
def test_a_name_in_another_writing_is_named(tmp_path, prescan, written, there):
    file = tmp_path / "images" / there
    file.parent.mkdir(parents=True)
    Image.new("RGB", (30, 20)).save(file)
    if (tmp_path / "images" / written).exists():
        pytest.skip("this file system does not tell the two apart")
    with pytest.raises(UserError) as caught:
        dataset(tmp_path / "images", [written], prescan=prescan).sample(0)
    assert f"; {there} is there" in str(caught.value)
    assert not prescan or str(caught.value).endswith("or rename the files.")


def test_only_one_file_of_the_folder_is_proposed(tmp_path):
    for folder in ("in/a", "in/b"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.png").touch()
    (tmp_path / "2.png").touch()
    (tmp_path / "in" / "3.JPG").touch()
    (tmp_path / "in" / "3.txt").touch()
    similar = SimilarNames(tmp_path / "in")
    assert similar.hint("3.png").startswith("; 3.JPG is there, the same name but for its suffix")
    assert similar.hint("x/3").startswith("; 3.JPG is there, the same name but for its suffix")
    assert similar.hint("c\\1.png") == ""
    assert similar.hint("..\\2.png") == ""
    assert similar.hint("A\\1.png").startswith("; a/1.png is there")


def test_a_link_that_leads_nowhere_is_said_to_be_one(tmp_path):
    images(tmp_path / "images", number=1)
    (tmp_path / "images/link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"link\.png: no such image file; it is a link to \S+gone\.png\. Repair"):
        dataset(tmp_path / "images", ["0.png", "link.png"])
    assert SimilarNames(tmp_path / "images").hint("link.png") == ""


def test_the_advice_can_be_typed(tmp_path):
    images(tmp_path / "images", number=2)
    with pytest.raises(UserError) as caught:
        dataset(tmp_path / "images", ["0.png", "gone.png"])
    assert "\n" not in str(caught.value)
    assert "1 of its 2 images cannot be read: " in str(caught.value)
    assert str(caught.value).endswith(
        ". Repair it, or leave it out: data.unreadable skip, for otadet convert-data --skip-unreadable."
    )
    with pytest.raises(
        UserError, match=r"2 of its 3 images cannot be read:\n.*\n.*\nRepair them, or leave them out: data"
    ):
        dataset(tmp_path / "images", ["0.png", "gone.png", "lost.png"])


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux alone")
def test_names_that_are_not_utf8_are_read(tmp_path):
    images(tmp_path / "images", number=1)
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "images/0.png").rename(tmp_path / "images" / name)
    found = dataset(tmp_path / "images", [name])
    assert found.file_names == [found.sample(0).file_name] == [name]


def test_a_pipe_among_the_images_is_named(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with a name")
    images(tmp_path / "images", number=2)
    os.mkfifo(tmp_path / "images/2.png")
    with pytest.raises(UserError, match=r"2\.png: is a pipe"):
        dataset(tmp_path / "images", NAMES)
    with pytest.raises(UserError, match=r"2\.png: is a pipe"):
        dataset(tmp_path / "images", NAMES, prescan=False).sample(2)
