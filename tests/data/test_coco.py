import contextlib
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from otadet.errors import UserError
from otadet.evaluation.coco import coco_dict
from tests.helpers.coco import coco_dataset

BLOOD_CELLS = Path(__file__).parents[3] / "shared/data/blood_cells"


def annotation(bbox, image_id=3, category_id=7, **extra):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, **extra}


def test_sparse_category_ids_become_labels_and_back(coco_folder):
    dataset = coco_dataset(*coco_folder())
    assert dataset.class_names == ("ape", "zebra")
    assert dataset.source_ids == (7, 90)
    sample = dataset.sample(0)
    np.testing.assert_array_equal(sample.labels, [0, 1])
    np.testing.assert_array_equal(sample.boxes, [[0.5, 1, 4.5, 5], [10, 10, 15, 15]])
    assert (sample.image_id, sample.file_name, sample.original_size) == (3, "0.png", (20, 30))
    assert [a["category_id"] for a in coco_dict(dataset)["annotations"]] == [7, 90, 90, 7]


def test_class_names_decide_the_order_of_the_labels(coco_folder):
    dataset = coco_dataset(*coco_folder(), class_names=["zebra", "ape"])
    assert dataset.source_ids == (90, 7)
    np.testing.assert_array_equal(dataset.sample(0).labels, [1, 0])
    assert [a["category_id"] for a in coco_dict(dataset)["annotations"]] == [7, 90, 90, 7]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["ape"],
            r"annotations\.json: has boxes of zebra \(2\), not among the 1 classes wanted \(ape\); wanted are those of",
        ),
        (["ape", "zebre"], r"boxes of zebra \(2\), not among .*\(ape, zebre\); did you mean 'zebre'\?"),
        (["cow", "horse"], r"has boxes of ape \(2\), zebra \(2\), not among"),
        (["ape", "ape", "zebra"], r"class names \[0\] and \[1\] are both 'ape'"),
    ],
    ids=str,
)
def test_boxes_of_other_classes_are_refused(coco_folder, names, message):
    with pytest.raises(UserError, match=message):
        coco_dataset(*coco_folder(), class_names=names)


def test_a_file_may_lack_classes_and_list_others_without_boxes(coco_folder):
    categories = [{"id": 90, "name": "zebra"}, {"id": 7, "name": "ape"}, {"id": 1, "name": "bird"}]
    dataset = coco_dataset(*coco_folder(categories=categories), class_names=["cow", "zebra", "horse", "ape"])
    assert dataset.class_names == ("cow", "zebra", "horse", "ape")
    assert dataset.source_ids == (2, 90, 3, 7), "free ones for the classes that the file lacks"
    np.testing.assert_array_equal(dataset.sample(0).labels, [3, 1])
    names = {entry["id"]: entry["name"] for entry in coco_dict(dataset)["categories"]}
    assert [names[a["category_id"]] for a in coco_dict(dataset)["annotations"]] == ["ape", "zebra", "zebra", "ape"]
    assert "left out as headings or no classes (bird)" in dataset.summary()


def test_the_order_of_the_classes_can_change(coco_folder):
    straight = coco_dataset(*coco_folder())
    turned = straight.with_class_order(["zebra", "ape"])
    assert turned.source_ids == (90, 7)
    np.testing.assert_array_equal(turned.sample(0).labels, 1 - straight.sample(0).labels)
    assert coco_dict(turned)["annotations"] == coco_dict(straight)["annotations"]
    assert straight.class_names == ("ape", "zebra")


@pytest.mark.parametrize("name", ["animals", "ape"])
def test_a_heading_is_no_class(coco_folder, name):
    """As in Roboflow's exports, where it may be called like the only class."""
    categories = [
        {"id": 0, "name": name, "supercategory": "none"},
        {"id": 7, "name": "ape", "supercategory": name},
        {"id": 90, "name": "zebra", "supercategory": name},
    ]
    dataset = coco_dataset(*coco_folder(categories=categories))
    assert dataset.class_names == ("ape", "zebra")
    assert dataset.source_ids == (7, 90)
    assert f"1 category left out as headings or no classes ({name})" in dataset.summary()
    if name == "animals":
        asked_for = coco_dataset(*coco_folder(categories=categories), class_names=["animals", "ape", "zebra"])
        assert asked_for.source_ids == (0, 7, 90), "a training took it for a class"


def test_what_has_boxes_is_no_heading(coco_folder):
    categories = [{"id": 7, "name": "ape"}, {"id": 90, "name": "zebra", "supercategory": "ape"}]
    assert coco_dataset(*coco_folder(categories=categories)).class_names == ("ape", "zebra")
    itself = [{"id": n, "name": name, "supercategory": name} for n, name in ((7, "ape"), (90, "zebra"), (3, "cow"))]
    assert coco_dataset(*coco_folder(categories=itself)).class_names == ("cow", "ape", "zebra")


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"annotations": None}, "it has no list 'annotations', as the file of a test split"),
        ({"annotations": []}, "its list of annotations is empty"),
        (
            {"annotations": [annotation([1, 1, 4, 5], iscrowd=1)]},
            r"1 of its annotations are crowd regions \(set iscrowd 0",
        ),
        ({"annotations": [annotation([-9, -9, 4, 5])]}, "1 of its annotations are degenerate, of no size or outside"),
        (
            {"annotations": [annotation([1, 1, 4, 5], iscrowd=1), annotation([1, 1, 0, 0]), annotation([1, 1, 9, 0])]},
            "1 of its annotations are crowd regions .*, 2 are degenerate",
        ),
    ],
    ids=["no list", "empty", "crowd", "outside", "both"],
)
def test_why_there_is_no_box_to_train_on(coco_folder, sections, why):
    dataset = coco_dataset(*coco_folder(**sections))
    assert coco_dict(dataset)["images"]
    with pytest.raises(UserError, match=rf"annotations\.json: has no box to train on: .*{why}"):
        dataset.check_trainable()
    coco_dataset(*coco_folder()).check_trainable()


@pytest.mark.parametrize(
    "name", ["../secret.png", "{folder}/secret.png", "images/../../secret.png", "a\\..\\..\\b.png"]
)
def test_file_names_that_lead_out_of_the_folder(coco_folder, tmp_path, name):
    json_path, images = coco_folder()
    (images / "0.png").rename(tmp_path / "secret.png")
    (images / "images").mkdir()
    content = json.loads(json_path.read_text())
    content["images"] = [{**content["images"][0], "file_name": name.format(folder=tmp_path)}]
    content["annotations"] = content["annotations"][1:2]
    json_path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"images\[0\]: file_name .*(leads out|is absolute).*outside_images true"):
        coco_dataset(json_path, images)
    if "\\" not in name:
        assert coco_dataset(json_path, images, outside_images=True).sample(0).image.shape == (20, 30, 3)
    (tmp_path / "secret.png").unlink()
    with pytest.raises(UserError, match="no such image file"):
        coco_dataset(json_path, images, outside_images=True)


def test_links_in_the_folder_are_followed(coco_folder, tmp_path):
    json_path, images = coco_folder()
    (images / "0.png").rename(tmp_path / "elsewhere.png")
    (images / "0.png").symlink_to(tmp_path / "elsewhere.png")
    assert coco_dataset(json_path, images).sample(0).image.shape == (20, 30, 3)


def test_images_without_objects_are_kept(coco_folder):
    dataset = coco_dataset(*coco_folder())
    assert len(dataset) == len(coco_dict(dataset)["images"]) == 5
    assert dataset.sample(4).boxes.shape == (0, 4)
    assert dataset.counts.images_without_boxes == 2
    assert len(coco_dataset(*coco_folder(annotations=[]))) == 5


def test_boxes_are_clipped_or_dropped_and_counted(coco_folder):
    inside, beyond = [1, 1, 5, 5], [-4, 10, 10, 40]
    degenerate = [[5, 5, 0, 4], [5, 5, -3, 4], [31, 0, 4, 4], [float("nan"), 0, 4, 4], [0, 0, float("inf"), 4]]
    json_path, images = coco_folder(annotations=[annotation(box) for box in (inside, *degenerate, beyond)])
    dataset = coco_dataset(json_path, images)
    np.testing.assert_array_equal(dataset.sample(0).boxes, [[1, 1, 6, 6], [0, 10, 6, 20]])
    assert (dataset.counts.boxes, dataset.counts.clipped, dataset.counts.degenerate) == (2, 1, 5)
    assert "1 box clipped" in dataset.summary()
    assert "5 degenerate boxes dropped" in dataset.summary()
    assert [a["bbox"] for a in coco_dict(dataset)["annotations"]] == [inside, beyond]


def test_crowd_is_not_trained_on_but_evaluated_as_crowd(coco_folder):
    crowd = annotation([0, 0, 20, 20], iscrowd=1)
    dataset = coco_dataset(*coco_folder(annotations=[crowd, annotation([1, 1, 5, 5])]))
    assert len(dataset.sample(0).boxes) == dataset.counts.boxes == dataset.counts.ignored == 1
    assert dataset.sample(0).ignored.tolist() == [[0, 0, 20, 20]]
    assert dataset.sample(1).ignored.shape == (0, 4)
    assert [a["iscrowd"] for a in coco_dict(dataset)["annotations"]] == [1, 0]


def test_crowds_are_clipped_and_dropped_as_boxes_are(coco_folder):
    crowds = [annotation(box, iscrowd=1) for box in ([-5, -5, 20, 20], [40, 0, 5, 5], [3, 3, 0, 8])]
    dataset = coco_dataset(*coco_folder(annotations=[*crowds, annotation([1, 1, 5, 5])]))
    assert dataset.sample(0).ignored.tolist() == [[0, 0, 15, 15]]
    assert (dataset.counts.ignored, dataset.counts.clipped, dataset.counts.degenerate) == (1, 1, 2)


def test_the_order_of_annotations_within_an_image_is_kept(coco_folder):
    boxes = [[n, 0, 2, 2] for n in range(20)]
    mixed = [annotation(box, image_id=13 if n % 3 else 3) for n, box in enumerate(boxes)]
    dataset = coco_dataset(*coco_folder(annotations=mixed))
    np.testing.assert_array_equal(dataset.sample(0).boxes[:, 0], np.arange(0, 20, 3))
    np.testing.assert_array_equal(dataset.sample(1).boxes[:, 0], [n for n in range(20) if n % 3])


def evaluate(truth: dict, detections: list[dict]) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def test_pycocotools_finds_every_object_of_the_completed_dict(coco_folder):
    truth = coco_dict(coco_dataset(*coco_folder()))
    detections = [
        {key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for a in truth["annotations"]
    ]
    assert evaluate(truth, detections)[0] == pytest.approx(1.0)


def test_evaluated_boxes_are_those_of_the_file_to_the_last_digit(coco_folder):
    rng = np.random.default_rng(0)
    boxes = [box for digits in (1, 2, 3, 6) for box in rng.uniform(0.1, 14, (50, 4)).round(digits).tolist()]
    dataset = coco_dataset(*coco_folder(annotations=[annotation(box) for box in boxes]))
    assert [entry["bbox"] for entry in coco_dict(dataset)["annotations"]] == boxes
    # Of more digits the corners are what counts.
    finer = rng.uniform(0.1, 14, (50, 4)).tolist()
    dataset = coco_dataset(*coco_folder(annotations=[annotation(box) for box in finer]))
    written = np.array([entry["bbox"] for entry in coco_dict(dataset)["annotations"]])
    np.testing.assert_array_equal(written[:, :2], np.array(finer)[:, :2])
    np.testing.assert_allclose(written, finer, rtol=1e-13)


def test_a_box_beyond_all_bounds_has_a_finite_area(coco_folder):
    huge = [-1e308, -1e308, 1.5e308, 1.5e308]
    (entry,) = coco_dict(coco_dataset(*coco_folder(annotations=[annotation(huge)])))["annotations"]
    assert entry["bbox"] == huge
    assert np.isfinite(entry["area"])


def test_areas_of_the_file_are_kept_and_missing_ones_filled_in(coco_folder):
    dataset = coco_dataset(*coco_folder(annotations=[annotation([1, 1, 4, 5]), annotation([1, 1, 4, 5], area=11.5)]))
    assert [a["area"] for a in coco_dict(dataset)["annotations"]] == [20, 11.5]


def test_sizes_missing_from_the_file_are_read_from_the_images(coco_folder):
    images = [{"id": 10 * n + 3, "file_name": f"{n}.png"} for n in range(5)]
    for prescan in (True, False):
        dataset = coco_dataset(*coco_folder(images=images), prescan=prescan)
        assert [image["height"] for image in coco_dict(dataset)["images"]] == [20, 21, 22, 23, 24]


@pytest.fixture
def damaged(coco_folder):
    json_path, images = coco_folder()
    (images / "1.png").unlink()
    os.truncate(images / "3.png", 100)
    return json_path, images


def test_unreadable_images_fail_naming_each(damaged):
    with pytest.raises(UserError, match=r"(?s)2 of its 5 images.*1\.png: no such.*3\.png: .*truncated"):
        coco_dataset(*damaged)


def test_unreadable_images_are_skipped_and_counted(damaged):
    dataset = coco_dataset(*damaged, unreadable="skip")
    assert dataset.file_names == ["0.png", "2.png", "4.png"]
    assert "2 unreadable images skipped" in dataset.summary()
    truth = coco_dict(dataset)
    assert {a["image_id"] for a in truth["annotations"]} == {3}
    assert [image["id"] for image in truth["images"]] == [dataset.sample(n).image_id for n in range(3)] == [3, 23, 43]


def test_without_the_prescan_a_bad_file_is_named_when_it_is_read(damaged):
    dataset = coco_dataset(*damaged, prescan=False)
    assert len(dataset) == 5
    with pytest.raises(UserError, match=r"1\.png: no such"):
        dataset.sample(1)
    with pytest.raises(UserError, match="leave prescan on"):
        coco_dataset(*damaged, prescan=False, unreadable="skip")


def test_all_images_missing_is_an_error_even_when_skipping(coco_folder):
    json_path, images = coco_folder()
    for path in images.iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"(?s)5 of its 5 images.*folder the right one") as error:
        coco_dataset(json_path, images, unreadable="skip")
    assert str(error.value).count("no such image file") == 5


def test_an_image_of_another_size_than_its_annotations_is_refused(coco_folder):
    json_path, images = coco_folder()
    json_path.write_text(json_path.read_text().replace('"height": 22, "width": 30', '"height": 30, "width": 22'))
    with pytest.raises(UserError, match=r"2\.png: has 30 x 22 pixels.* 22 x 30"):
        coco_dataset(json_path, images)
    with pytest.raises(UserError, match=r"2\.png: has 30 x 22 pixels.* 22 x 30"):
        coco_dataset(json_path, images, prescan=False).sample(2)


def test_a_missing_image_folder_is_named(coco_folder):
    json_path, images = coco_folder()
    with pytest.raises(UserError, match="nowhere: no such folder"):
        coco_dataset(json_path, images / "nowhere")


def test_workers_get_arrays_not_objects(coco_folder):
    _json_path, _images = coco_folder()
    few, many = (
        pickle.dumps(coco_dataset(*coco_folder(annotations=[annotation([1, 1, 4, 5])] * number)))
        for number in (1, 1001)
    )
    assert len(many) - len(few) < 1000 * 120
    assert len(pickle.loads(many).sample(0).boxes) == 1001


@pytest.mark.skipif(not BLOOD_CELLS.is_dir(), reason="the blood cells are not here")
def test_blood_cells_load_whole():
    for split, images, boxes in (("train", 75, 1757), ("val", 25, 582)):
        dataset = coco_dataset(BLOOD_CELLS / f"annotations/instances_{split}.json", BLOOD_CELLS / "images")
        assert (len(dataset), dataset.counts.boxes, dataset.class_names) == (images, boxes, ("rbc", "wbc"))
        assert dataset.sample(len(dataset) - 1).image.shape == (256, 256, 3)
