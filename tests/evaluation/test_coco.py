import json

import cv2
import numpy as np
import pytest
import torch

from otadet.errors import UserError
from otadet.evaluation.coco import STATS, coco_dict, coco_predictions, evaluate_coco, readable
from otadet.structures import Detections
from tests.helpers.coco import coco_dataset

BOXES = {21: [(0, [10, 10, 50, 60]), (1, [30, 20, 90, 70])], 5: [(0, [5, 5, 45, 35])], 8: []}
"""Image id -> (label, xyxy) of its objects."""
CROWD = [60, 5, 35, 30]
"""x, y, width, height of a crowd region in image 5."""


@pytest.fixture
def make_dataset(tmp_path):
    """A function that makes a data set of three images, by default with the objects of `BOXES`."""

    def make(boxes=BOXES, crowd=()):
        annotations = [
            (image_id, label, [left, top, right - left, bottom - top], 0)
            for image_id, objects in boxes.items()
            for label, (left, top, right, bottom) in objects
        ]
        annotations += [(5, label, CROWD, 1) for label in crowd]
        content = {
            "images": [
                {"id": image_id, "file_name": f"{image_id}.png", "height": 80, "width": 100} for image_id in BOXES
            ],
            "annotations": [
                {"id": number, "image_id": image_id, "category_id": (40, 7)[label], "bbox": box, "iscrowd": is_crowd}
                for number, (image_id, label, box, is_crowd) in enumerate(annotations)
            ],
            "categories": [{"id": 40, "name": "cell"}, {"id": 7, "name": "dust"}],
        }
        for image_id in BOXES:
            cv2.imwrite(str(tmp_path / f"{image_id}.png"), np.zeros((80, 100, 3), np.uint8))
        (tmp_path / "truth.json").write_text(json.dumps(content))
        return coco_dataset(tmp_path / "truth.json", tmp_path, class_names=("cell", "dust"))

    return make


def found(*entries):
    """Detections from (label, xyxy, score)."""
    return Detections(
        torch.tensor([box for _, box, _ in entries], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for _, _, score in entries], dtype=torch.float32),
        torch.tensor([label for label, _, _ in entries], dtype=torch.int64),
    )


def perfect():
    return {image_id: found(*((label, box, 0.9) for label, box in objects)) for image_id, objects in BOXES.items()}


def test_the_truth_itself_has_full_marks(make_dataset, capsys):
    result = evaluate_coco(make_dataset(), perfect())
    assert result.stats["AP"] == result.stats["AR100"] == pytest.approx(1)
    assert [(entry.name, entry.truths, entry.predictions) for entry in result.per_class] == [
        ("cell", 2, 2),
        ("dust", 1, 1),
    ]
    assert [entry.scores["AP"] for entry in result.per_class] == pytest.approx([1, 1])
    assert result.diagnosis.cause == ""
    assert capsys.readouterr().out == ""


def test_half_the_objects_give_half_the_recall(make_dataset):
    dataset = make_dataset({21: [(0, [10, 10, 50, 60]), (0, [60, 20, 90, 70])]})
    result = evaluate_coco(dataset, {21: found((0, [10, 10, 50, 60], 0.5))})
    # Precision is 1 at the 51 recalls 0, 0.01, ... 0.5 of COCO's 101, and 0 at the others.
    assert result.stats["AP"] == pytest.approx(51 / 101)
    assert result.stats["AR100"] == pytest.approx(0.5)


def test_a_false_positive_that_scores_higher_halves_the_precision(make_dataset):
    dataset = make_dataset({21: [(0, [10, 10, 50, 60])]})
    result = evaluate_coco(dataset, {21: found((0, [60, 10, 90, 60], 0.9), (0, [10, 10, 50, 60], 0.5))})
    assert result.stats["AP"] == pytest.approx(0.5)


def test_a_detection_in_a_crowd_region_is_not_counted(make_dataset):
    dataset = make_dataset(crowd=(0,))
    left, top, width, height = CROWD
    detections = perfect()
    detections[5] = found((0, [left, top, left + width / 2, top + height], 0.99), (0, [5, 5, 45, 35], 0.9))
    assert evaluate_coco(dataset, detections).stats["AP"] == pytest.approx(1)


@pytest.mark.parametrize("detections", [{}, {5: found()}, {21: found(), 5: found(), 8: found()}])
def test_no_predictions_are_explained(make_dataset, detections):
    result = evaluate_coco(make_dataset(), detections)
    assert result.stats["AP"] == result.stats["AR100"] == 0
    assert result.diagnosis.top_score is None
    assert "score_threshold" in result.diagnosis.cause


@pytest.mark.parametrize("crowd", [(), (0, 1)])
def test_no_ground_truth_is_explained(make_dataset, crowd):
    result = evaluate_coco(make_dataset({}, crowd), perfect())
    assert set(result.stats.values()) == {-1}
    assert [entry.scores["AP"] for entry in result.per_class] == [-1, -1]
    assert result.diagnosis.crowd_regions == len(crowd)
    assert "no ground truth" in result.diagnosis.cause


def test_unknown_image_ids_are_explained(make_dataset):
    result = evaluate_coco(make_dataset(), {900: perfect()[21], 901: perfect()[5]})
    assert (result.diagnosis.predicted_images, result.diagnosis.matching_images) == (2, 0)
    assert "image id" in result.diagnosis.cause


def test_swapped_class_names_are_explained(make_dataset):
    swapped = {
        image_id: Detections(right.boxes, right.scores, 1 - right.labels) for image_id, right in perfect().items()
    }
    diagnosis = evaluate_coco(make_dataset(), swapped).diagnosis
    assert diagnosis.best_iou == pytest.approx(1)
    assert "class names" in diagnosis.cause


def test_classes_that_do_not_occur_are_explained(make_dataset):
    dataset = make_dataset({21: [(0, [10, 10, 50, 60])]})
    diagnosis = evaluate_coco(dataset, {21: found((1, [10, 10, 50, 60], 0.9))}).diagnosis
    assert (diagnosis.predicted_classes, diagnosis.truth_classes, diagnosis.matching_classes) == (
        ("dust",),
        ("cell",),
        (),
    )
    assert "no predicted class" in diagnosis.cause


def test_boxes_on_another_scale_are_explained(make_dataset):
    small = {image_id: Detections(right.boxes / 4, right.scores, right.labels) for image_id, right in perfect().items()}
    result = evaluate_coco(make_dataset(), small)
    assert result.stats["AP"] == 0
    assert "pixels" in result.diagnosis.cause


def test_a_label_without_category_is_an_error(make_dataset):
    with pytest.raises(UserError, match=r"class number 2.*only 2 classes"):
        evaluate_coco(make_dataset(), {5: found((2, [0, 0, 5, 5], 0.5))})


def test_the_saved_predictions_have_the_same_numbers(make_dataset, tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = make_dataset(crowd=(1,))
    generator = torch.Generator().manual_seed(0)
    detections = {}
    for image_id, right in perfect().items():
        boxes = right.boxes.repeat(4, 1)
        boxes = boxes + 4 * torch.randn(boxes.shape, generator=generator)
        labels = torch.randint(2, (len(boxes),), generator=generator)
        detections[image_id] = Detections(boxes, torch.rand(len(boxes), generator=generator), labels)
    result = evaluate_coco(dataset, detections)
    (tmp_path / "found.json").write_text(json.dumps(coco_predictions(detections, dataset.source_ids)))

    (tmp_path / "complete.json").write_text(json.dumps(coco_dict(dataset)))
    truth = COCO(str(tmp_path / "complete.json"))
    again = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
    again.evaluate()
    again.accumulate()
    again.summarize()
    assert 0.05 < result.stats["AP"] < 0.95
    assert list(result.stats) == list(STATS)
    assert list(result.stats.values()) == pytest.approx(again.stats.tolist())
    assert np.mean([entry.scores["AP"] for entry in result.per_class]) == pytest.approx(result.stats["AP"])


def test_an_image_that_was_left_out_does_not_count(make_dataset):
    dataset = make_dataset()
    detections = {image_id: one for image_id, one in perfect().items() if image_id != 21}
    assert evaluate_coco(dataset, detections).stats["AP"] < 0.9
    assert evaluate_coco(dataset, detections, readable(dataset, detections, {0: "gone"})).stats["AP"] == pytest.approx(
        1
    )
    with pytest.raises(UserError, match=r"none of its 3 images can be read.*The first: gone"):
        readable(dataset, {}, {0: "gone", 1: "gone", 2: "gone"})
