"""Annotations of several sources as one."""

from dataclasses import replace

import numpy as np
import pytest

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.coco import read_coco
from otadet.data.merged import merged
from otadet.errors import UserError
from tests.helpers.own_pictures import write_coco


@pytest.fixture
def parts(tmp_path):
    """Two folders, in which both classes are called otherwise, and which have the same file names."""
    found = []
    for place, names in (("one", ["a.png", "b.png"]), ("deep/two", ["b.png", "c.png", "d.png"])):
        folder = write_coco(tmp_path / place, {"all": names})
        found.append(read_coco(folder / "all.json", folder / "images"))
    text = (tmp_path / "deep/two/all.json").read_text().replace('"square"', '"box"')
    (tmp_path / "deep/two/all.json").write_text(text)
    found[1] = read_coco(tmp_path / "deep/two/all.json", tmp_path / "deep/two/images")
    return found


def test_images_are_renumbered_and_found(parts, tmp_path):
    dataset = DetectionDataset(merged(parts, {}))
    assert dataset.class_names == ("square", "box")
    assert dataset.image_ids.tolist() == [1, 2, 3, 4, 5]
    assert dataset.image_dir == tmp_path
    assert dataset.file_names == [
        *("one/images/a.png", "one/images/b.png"),
        *(f"deep/two/images/{name}.png" for name in "bcd"),
    ]
    assert dataset.boxes_per_class().tolist() == [2, 3]
    assert [dataset.sample(row).labels.tolist() for row in range(5)] == [[0], [0], [1], [1], [1]]
    np.testing.assert_array_equal(dataset.sample(2).image, DetectionDataset(parts[1]).sample(0).image)


def test_classes_are_renamed(parts):
    assert DetectionDataset(merged(parts, {"box": "square"})).class_names == ("square",)
    assert DetectionDataset(merged(parts, {"box": "square"})).counts.boxes == 5
    assert DetectionDataset(merged(parts, {"square": "a", "box": "b"})).class_names == ("a", "b")


def test_one_source_is_itself(parts):
    alone = merged(parts[:1], {})
    assert alone.image_dir == parts[0].image_dir
    assert list(alone.file_names) == list(parts[0].file_names)


def test_what_was_dropped_is_added_up(parts):
    counts = [(("x", 2),), (("x", 3), ("y", 1))]
    one, two = (replace(part, dropped=dropped) for part, dropped in zip(parts, counts, strict=True))
    assert merged([one, two], {}).dropped == (("x", 5), ("y", 1))


def test_data_that_are_measured_otherwise_do_not_mix(parts):
    with pytest.raises(UserError, match=r"different evaluations.*\(coco\).*\(crowdhuman\)"):
        merged([parts[0], replace(parts[1], protocol="crowdhuman")], {})
