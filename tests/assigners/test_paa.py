"""PAA against a plain implementation, one box at a time, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou

from otadet.assigners import PAAAssigner
from otadet.assigners.paa import positive_limit
from otadet.structures import BACKGROUND, Anchors, GroundTruth, Predictions
from tests.helpers.dense_ota import focal, ordered
from tests.helpers.plain_em import plain_em
from tests.helpers.problems import random_problem


def plain_paa(predictions: Predictions, anchors: Anchors, truth: GroundTruth, topk: int = 9) -> tuple[Tensor, Tensor]:
    """(A,) gt_index and ambiguous."""
    overlap = box_iou(truth.boxes.double(), anchors.boxes.double())
    best_box = overlap.argmax(0)
    matched = (overlap.amax(0) >= 0.1) | (overlap == overlap.amax(1, keepdim=True)).any(0)
    loss = joint_loss(predictions, truth)
    gt_index = torch.full((len(anchors.points),), BACKGROUND)
    limits = []
    for box in range(len(truth.boxes)):
        owned = (matched & (best_box == box)).nonzero().squeeze(1)
        candidates = least_of_each_level(owned, loss[box], anchors, topk)
        limits.append(plain_limit(loss[box, candidates].tolist()))
        gt_index[[j for j in candidates if loss[box, j] <= limits[-1]]] = box
    would_be = (overlap >= 0.1) & (loss <= torch.tensor(limits, dtype=torch.float64)[:, None])
    own = F.one_hot(gt_index.clamp(min=0), len(truth.boxes)).T.bool()
    return gt_index, (gt_index >= 0) & (would_be & ~own).any(0)


def joint_loss(predictions: Predictions, truth: GroundTruth) -> Tensor:
    """(G, A)"""
    logits, gt = predictions.logits[0].double(), truth.boxes.double()
    class_loss = torch.stack([focal(logits, F.one_hot(y, logits.shape[1]).double()).sum(1) for y in truth.labels])
    return class_loss + 1 - generalized_box_iou(gt, ordered(predictions.boxes[0].double()))


def least_of_each_level(owned: Tensor, loss: Tensor, anchors: Anchors, topk: int) -> list[int]:
    kept, first = [], 0
    for height, width in anchors.level_sizes:
        of_level = [j for j in owned.tolist() if first <= j < first + height * width]
        kept += sorted(of_level, key=lambda j: loss[j].item())[:topk]
        first += height * width
    return kept


def plain_limit(losses: list[float]) -> float:
    if not losses:
        return -math.inf
    components = plain_em(losses)

    def densities(x: float) -> list[float]:
        return [w * math.exp(-((x - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v) for w, m, v in components]

    better = [x for x in losses if densities(x)[0] >= densities(x)[1]]
    return max(better, key=lambda x: sum(densities(x))) if better else max(losses)


@pytest.mark.parametrize("topk", [9, 25])
@pytest.mark.parametrize("late", [True, False])
def test_equals_a_plain_implementation(topk: int, late: bool, generator: torch.Generator) -> None:
    positives = ambiguous = 0
    for num_boxes in (1, 4, 9, 16, 25):
        predictions, anchors, truths = random_problem(generator, num_boxes, 5, late=late)
        gt_index, unsure = plain_paa(predictions, anchors, truths[0], topk)
        assignment = PAAAssigner(topk=topk)(predictions, anchors, truths)
        assert torch.equal(assignment.gt_index[0], gt_index)
        assert torch.equal(assignment.ambiguous[0], unsure)
        positives += int((gt_index >= 0).sum())
        ambiguous += int(unsure.sum())
    assert positives > 55
    assert ambiguous > 0


def test_positives_end_at_the_likeliest_of_the_better_component() -> None:
    # Two far clusters: the mixture is the mean and the variance of each. The likeliest of the first is the middle one.
    losses = torch.tensor([[5.2, 1.0, 5.0, 1.1, 0.9, 4.8, math.inf, math.inf]], dtype=torch.float64)
    assert positive_limit(losses).tolist() == [1.0]


@pytest.mark.parametrize(("losses", "limit"), [([0.7], 0.7), ([0.7, 0.7], 0.7), ([0.7, 3.0], 0.7), ([], -math.inf)])
def test_few_candidates(losses: list[float], limit: float) -> None:
    padded = torch.full((2, 4), math.inf, dtype=torch.float64)
    padded[0, : len(losses)] = torch.tensor(losses)
    padded[1] = 0.1
    assert positive_limit(padded)[0].item() == pytest.approx(limit)


def test_an_anchor_belongs_to_the_box_that_its_anchor_box_overlaps_most() -> None:
    points = torch.tensor([[8.0, 8.0], [24.0, 8.0]])
    anchors = Anchors(points, torch.cat((points - 8, points + 8), 1), torch.full((2,), 16.0), ((1, 2),))
    # Box 0 is anchor 0's. Both others overlap anchor 1 most, box 2 by more.
    boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0], [20.0, 0.0, 36.0, 16.0], [17.0, 0.0, 33.0, 16.0]])
    predictions = Predictions(torch.zeros(1, 2, 1), anchors.boxes[None])
    truth = GroundTruth(boxes, torch.zeros(3, dtype=torch.int64))
    assignment = PAAAssigner()(predictions, anchors, [truth])
    assert assignment.gt_index.tolist() == [[0, 2]]


def test_a_box_without_a_point_inside_gets_an_anchor(generator: torch.Generator) -> None:
    predictions, anchors, _ = random_problem(generator, 1, 3, late=False)
    truth = GroundTruth(torch.tensor([[101.0, 101.0, 102.0, 102.0]]), torch.tensor([2]))
    assert (PAAAssigner()(predictions, anchors, [truth]).gt_index == 0).any()


@pytest.mark.parametrize("settings", [{"threshold": 0}, {"topk": 0}], ids=str)
def test_impossible_settings(settings: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        PAAAssigner(**settings)
