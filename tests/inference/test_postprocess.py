from __future__ import annotations

import pytest
import torch

from otadet.errors import UserError
from otadet.inference.postprocess import Postprocess, scores_of
from otadet.structures import Predictions
from tests.helpers.problems import make_anchors, random_problem


def one_hot_predictions(boxes: list[list[float]], labels: list[int], scores: list[float]) -> tuple:
    """Predictions of which only the given ones have a score worth a name."""
    anchors = make_anchors(64, 64)
    logits = torch.full((1, len(anchors.points), 3), -20.0)
    all_boxes = torch.zeros(1, len(anchors.points), 4)
    for n, (box, label, score) in enumerate(zip(boxes, labels, scores, strict=True)):
        logits[0, n, label] = torch.logit(torch.tensor(score))
        all_boxes[0, n] = torch.tensor(box)
    return Predictions(logits, all_boxes), anchors


def test_score_is_the_geometric_mean_of_class_and_quality() -> None:
    logits, quality = torch.logit(torch.tensor([[[0.64]]])), torch.logit(torch.tensor([[0.25]]))
    boxes = torch.zeros(1, 1, 4)
    assert scores_of(Predictions(logits, boxes, quality)).item() == pytest.approx(0.4)
    assert scores_of(Predictions(logits, boxes, quality), "product").item() == pytest.approx(0.16)
    assert scores_of(Predictions(logits, boxes)).item() == pytest.approx(0.64)
    assert scores_of(Predictions(logits, boxes), "product").item() == pytest.approx(0.64)


def test_nms_is_class_wise() -> None:
    box, shifted, apart = [0.0, 0, 20, 20], [1.0, 0, 21, 20], [40.0, 40, 60, 60]
    predictions, anchors = one_hot_predictions([box, shifted, shifted, apart], [0, 0, 1, 0], [0.9, 0.8, 0.7, 0.6])
    (found,) = Postprocess()(predictions, anchors)
    assert found.labels.tolist() == [0, 1, 0]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7, 0.6]))
    assert found.boxes.tolist() == [box, shifted, apart]


def test_every_setting_has_its_effect(generator: torch.Generator) -> None:
    predictions, anchors, _ = random_problem(generator, 8, 3)
    (default,) = Postprocess(max_detections=1000)(predictions, anchors)
    (few,) = Postprocess(max_detections=7)(predictions, anchors)
    assert torch.equal(few.scores, default.scores[:7])
    (sure,) = Postprocess(score_threshold=0.3, max_detections=1000)(predictions, anchors)
    assert torch.equal(sure.scores, default.scores[default.scores > 0.3])
    (merged,) = Postprocess(nms_iou=0.2, max_detections=1000)(predictions, anchors)
    assert len(merged) < len(default)
    (short,) = Postprocess(topk_per_level=2, nms_iou=1.0, max_detections=1000)(predictions, anchors)
    assert len(short) <= 2 * len(anchors.level_sizes)


def test_nothing_above_the_threshold() -> None:
    predictions, anchors = one_hot_predictions([], [], [])
    (found,) = Postprocess()(predictions, anchors)
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_the_class_score_may_threshold_and_rank_while_the_score_orders() -> None:
    """Three pairs: sure of the class but in the wrong place, the reverse, and one in between."""
    anchors = make_anchors(64, 64)
    logits = torch.full((1, len(anchors.points), 1), -20.0)
    quality, boxes = torch.zeros(1, len(anchors.points)), torch.zeros(1, len(anchors.points), 4)
    for n, (class_score, place) in enumerate([(0.81, 0.01), (0.04, 0.81), (0.16, 0.64)]):
        logits[0, n], quality[0, n] = torch.logit(torch.tensor(class_score)), torch.logit(torch.tensor(place))
        boxes[0, n] = torch.tensor([20.0 * n, 0, 20 * n + 10, 10])
    predictions = Predictions(logits, boxes, quality)

    def found(**settings) -> list[float]:
        (detections,) = Postprocess(**settings)(predictions, anchors)
        return [round(score, 4) for score in detections.scores.tolist()]

    assert found(score_threshold=0.1) == [0.32, 0.18]
    assert found(score_threshold=0.05) == [0.32, 0.18, 0.09]
    assert found(score_threshold=0.05, rank_by="class") == [0.32, 0.09]
    assert found(score_threshold=0.01, rank_by="class", topk_per_level=1) == [0.09]
    assert found(score_threshold=0.01, topk_per_level=1) == [0.32]


def test_without_quality_both_ranks_are_one(generator: torch.Generator) -> None:
    predictions, anchors, _ = random_problem(generator, 8, 3)
    predictions = Predictions(predictions.logits, predictions.boxes)
    (by_score,), (by_class,) = (Postprocess(rank_by=rank)(predictions, anchors) for rank in ("score", "class"))
    assert len(by_score) > 3
    assert torch.equal(by_score.boxes, by_class.boxes)


def test_wrong_ranks() -> None:
    with pytest.raises(UserError, match="rank_by = 'centerness': choose score or class"):
        Postprocess(rank_by="centerness")
    with pytest.raises(ValueError, match="needs class_scores"):
        Postprocess(rank_by="class").select(torch.rand(4, 2), torch.rand(4, 4), [4])
