import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from otadet.data.loader import eval_loader
from otadet.data.transforms import ResizeShortestEdge
from otadet.errors import UserError
from otadet.evaluation.coco import evaluate_coco
from otadet.evaluation.evaluator import Interrupted, evaluate, pipeline_loader, predict_dataset
from otadet.inference.input_spec import InputSpec
from otadet.inference.pipeline import Pipeline
from otadet.inference.postprocess import Postprocess
from otadet.inference.predictor import Predictor
from otadet.structures import Anchors, Detections, Predictions
from tests.helpers.coco import coco_dataset
from tests.helpers.evaluating import SumOfTheRest, write_portraits_and_landscapes

GREY = InputSpec(ResizeShortestEdge((64,), 128), (110.0, 110.0, 110.0), (60.0, 60.0, 60.0))
NAMES = ("a", "b")


@pytest.fixture
def portraits_and_landscapes(tmp_path):
    write_portraits_and_landscapes(tmp_path)
    return coco_dataset(tmp_path / "truth.json", tmp_path)


def test_neither_batch_nor_processes_nor_threads_nor_layout_have_a_say(portraits_and_landscapes):
    dataset, model = portraits_and_landscapes, SumOfTheRest()

    def predict(batch_size, processes=1, threads=1, layout=torch.contiguous_format):
        torch.set_num_threads(threads)
        model.to(memory_format=layout)
        before = model.layers[0].weight.stride()
        found = {}
        for rank in range(processes):
            options = {"batch_size": batch_size, "rank": rank, "world_size": processes}
            loader = eval_loader(dataset, GREY.transform, pad_value=GREY.pad_value, size_divisor=32, **options)
            found |= predict_dataset(Pipeline(model, GREY, Postprocess(0.3), NAMES), loader)
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


def test_evaluation_has_what_the_predictor_finds(portraits_and_landscapes):
    """In files that are upright as they are stored."""
    dataset, pipeline = portraits_and_landscapes, Pipeline(SumOfTheRest().eval(), GREY, Postprocess(0.3), NAMES)
    done = []
    evaluation = evaluate(pipeline, dataset, batch_size=5, progress=done.append)
    assert done[-1] == len(dataset)
    assert done == sorted(done)
    predictor = Predictor(pipeline)
    assert sum(map(len, evaluation.detections.values())) > 20
    for index in range(len(dataset)):
        found, expected = evaluation.detections[int(dataset.image_ids[index])], predictor(dataset.path(index))
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(found.scores, expected.scores)
        assert found.class_names == expected.class_names
    assert evaluation.result.stats == evaluate_coco(dataset, evaluation.detections).stats


class OneBox(nn.Module):
    """Says the same box everywhere, in pixels of its input, and one in the padding."""

    strides, size_divisor = (1,), 32

    def forward(self, images):
        boxes = torch.tensor([[20.0, 40.0, 60.0, 400.0], [20.0, 170.0, 60.0, 190.0]]).expand(len(images), 2, 4)
        anchors = Anchors(torch.zeros(2, 2), torch.zeros(2, 4), torch.ones(2), ((1, 2),))
        return Predictions(torch.full((len(images), 2, 2), 3.0), boxes), anchors


@pytest.fixture
def three_images(tmp_path):
    """Of 80 x 100 pixels, with one object each: the upper half of what `OneBox` says."""
    numbers = (21, 5, 8)
    for number in numbers:
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((80, 100, 3), np.uint8))
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 80, "width": 100} for n in numbers],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 40, "bbox": [10, 20, 20, 60], "iscrowd": 0} for n in numbers
        ],
        "categories": [{"id": 40, "name": "cell"}, {"id": 7, "name": "dust"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    return coco_dataset(tmp_path / "truth.json", tmp_path, class_names=("cell", "dust"))


def one_box(training=False, score_of_padding=0.9):
    model = OneBox().train(training)

    def postprocess(predictions, anchors):
        assert not model.training
        scores = torch.tensor([0.8, score_of_padding])
        return [Detections(boxes, scores, torch.zeros(2).long()) for boxes in predictions.boxes]

    spec = InputSpec(ResizeShortestEdge((160,), 400), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Pipeline(model, spec, postprocess, ("cell", "dust"))


@pytest.mark.parametrize("training", [True, False])
def test_predictions_are_in_pixels_of_the_files(three_images, training):
    pipeline = one_box(training)
    detections = predict_dataset(pipeline, pipeline_loader(pipeline, three_images, batch_size=2))
    assert sorted(detections) == [5, 8, 21]
    for one in detections.values():
        assert one.boxes.tolist() == [[10, 20, 30, 80]]
        assert one.class_names == ["cell"]
    assert pipeline.model.training == training


def test_what_is_found_in_the_padding_alone_is_no_false_positive(three_images):
    """It has a better score than the true one, and would halve the precision."""
    evaluation = evaluate(one_box(), three_images, batch_size=2)
    assert evaluation.result.stats["AP"] == pytest.approx(1)
    assert evaluation.result.diagnosis.predictions == 3


def test_an_evaluation_that_is_asked_to_stop_says_so(three_images):
    asked = iter([False, True, True, True, True])
    with pytest.raises(Interrupted):
        evaluate(one_box(), three_images, batch_size=1, stop=lambda: next(asked))


def test_an_image_that_cannot_be_read_is_named_or_left_out(three_images, tmp_path):
    (tmp_path / "5.png").unlink()
    with pytest.raises(UserError, match=r"5\.png"):
        evaluate(one_box(), three_images, batch_size=2)
    left_out = {}
    evaluation = evaluate(one_box(), three_images, batch_size=2, unreadable="skip", left_out=left_out)
    assert list(left_out) == [1]
    assert sorted(evaluation.detections) == [8, 21]
    assert evaluation.result.stats["AP"] == pytest.approx(1)
