import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from otadet.data.coco import CocoDataset
from otadet.data.loader import eval_loader
from otadet.data.transforms import ResizeShortestEdge
from otadet.errors import UserError
from otadet.evaluation.coco import STATS, coco_dict, coco_predictions, evaluate_coco, predict_dataset, readable
from otadet.inference.postprocess import Postprocess
from otadet.models.normalize import PixelNorm
from otadet.structures import Anchors, Detections, Predictions
from tests.helpers.evaluating import SumOfTheRest, write_portraits_and_landscapes

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
        return CocoDataset(tmp_path / "truth.json", tmp_path, class_names=("cell", "dust"))

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
    assert [entry.AP for entry in result.per_class] == pytest.approx([1, 1])
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
    assert [entry.AP for entry in result.per_class] == [-1, -1]
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
    (tmp_path / "found.json").write_text(json.dumps(coco_predictions(detections, dataset.category_ids)))

    (tmp_path / "complete.json").write_text(json.dumps(coco_dict(dataset)))
    truth = COCO(str(tmp_path / "complete.json"))
    again = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
    again.evaluate()
    again.accumulate()
    again.summarize()
    assert 0.05 < result.stats["AP"] < 0.95
    assert list(result.stats) == list(STATS)
    assert list(result.stats.values()) == pytest.approx(again.stats.tolist())
    assert np.mean([entry.AP for entry in result.per_class]) == pytest.approx(result.stats["AP"])


@pytest.fixture
def portraits_and_landscapes(tmp_path):
    write_portraits_and_landscapes(tmp_path)
    return CocoDataset(tmp_path / "truth.json", tmp_path)


def test_neither_batch_nor_processes_nor_threads_nor_layout_have_a_say(portraits_and_landscapes):
    dataset, normalize, model = portraits_and_landscapes, PixelNorm((110, 110, 110), (60, 60, 60)), SumOfTheRest()

    def predict(batch_size, processes=1, threads=1, layout=torch.contiguous_format):
        torch.set_num_threads(threads)
        model.to(memory_format=layout)
        before = model.layers[0].weight.stride()
        found = {}
        for rank in range(processes):
            options = {"batch_size": batch_size, "rank": rank, "world_size": processes}
            loader = eval_loader(
                dataset, ResizeShortestEdge((64,), 128), pad_value=normalize.pad_value, size_divisor=32, **options
            )
            found |= predict_dataset(model, loader, Postprocess(0.3), normalize, torch.device("cpu"))
        assert model.layers[0].weight.stride() == before
        assert torch.get_num_threads() == threads
        return found

    alone = predict(1)
    stats = evaluate_coco(dataset, alone).stats
    assert 0 < stats["AP"] < 1
    variants = [{"batch_size": size} for size in (2, 5, 8)]
    variants += [{"batch_size": 5, "processes": count} for count in (2, 3)]
    variants += [{"batch_size": 5, "threads": 2}, {"batch_size": 2, "threads": 2, "layout": torch.channels_last}]
    try:
        for variant in variants:
            found = predict(**variant)
            for image_id, one in alone.items():
                assert torch.equal(found[image_id].boxes, one.boxes), variant
                assert torch.equal(found[image_id].scores, one.scores), variant
            assert evaluate_coco(dataset, found).stats == stats
    finally:
        torch.set_num_threads(1)


def test_an_image_that_was_left_out_does_not_count(make_dataset):
    dataset = make_dataset()
    detections = {image_id: one for image_id, one in perfect().items() if image_id != 21}
    assert evaluate_coco(dataset, detections).stats["AP"] < 0.9
    assert evaluate_coco(dataset, detections, readable(dataset, detections, {0: "gone"})).stats["AP"] == pytest.approx(
        1
    )
    with pytest.raises(UserError, match=r"none of its 3 images can be read.*The first: gone"):
        readable(dataset, {}, {0: "gone", 1: "gone", 2: "gone"})


class OneBox(nn.Module):
    """Says the same box everywhere, in pixels of its input."""

    def forward(self, images):
        boxes = torch.tensor([20.0, 40.0, 60.0, 400.0]).expand(len(images), 1, 4)
        anchors = Anchors(torch.zeros(1, 2), torch.zeros(1, 4), torch.ones(1), ((1, 1),))
        return Predictions(torch.full((len(images), 1, 2), 3.0), boxes), anchors


@pytest.mark.parametrize("training", [True, False])
def test_predictions_are_in_pixels_of_the_files(make_dataset, training):
    dataset, normalize = make_dataset(), PixelNorm((0, 0, 0), (1, 1, 1))
    loader = eval_loader(
        dataset, ResizeShortestEdge((160,), 400), batch_size=2, pad_value=normalize.pad_value, size_divisor=32
    )
    model = OneBox().train(training)

    def postprocess(predictions, anchors):
        assert not model.training
        return [Detections(boxes, torch.ones(1), torch.zeros(1).long()) for boxes in predictions.boxes]

    detections = predict_dataset(model, loader, postprocess, normalize, torch.device("cpu"))
    assert sorted(detections) == sorted(BOXES)
    for one in detections.values():
        assert one.boxes.tolist() == [[10, 20, 30, 80]]
    assert model.training == training
