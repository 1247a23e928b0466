"""SimOTA against plain implementations, one image and one box at a time: its definition on OTA's costs, and YOLOX's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from otadet.assigners import SimOTAAssigner
from otadet.structures import BACKGROUND, Anchors, GroundTruth, Predictions
from tests.helpers.dense_ota import focal, ordered, window_prior
from tests.helpers.problems import random_problem


def plain_simota(predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> Tensor:
    """(A,) Each box takes its k cheapest candidates; a conflict goes to the cheapest box that has the candidate."""
    logits, gt = predictions.logits[0].double(), truth.boxes.double()
    prior = window_prior(anchors.points.double(), anchors.strides.double(), gt, 2.5)
    overlap = plain_iou(gt, predictions.boxes[0])
    class_cost = torch.stack(
        [focal(logits, F.one_hot(label, logits.shape[1]).double()).sum(1) for label in truth.labels]
    )
    cost = class_cost - 1.5 * overlap.clamp(min=torch.finfo(torch.float32).eps).log()
    cost[~prior] = torch.inf
    taken = torch.zeros_like(prior)
    for row, candidates in enumerate(prior):
        k = max(1, int(overlap[row, candidates].sort(descending=True).values[:20].sum()))
        taken[row, cost[row].argsort()[: min(k, int(candidates.sum()))]] = True
    return resolve(taken, cost)


def plain_yolox(predictions: Predictions, anchors: Anchors, truth: GroundTruth) -> Tensor:
    """(A,) YOLOX's matching: any box's points are everybody's, at a price; k counts the IoUs of all of them."""
    logits, gt = predictions.logits[0].double(), truth.boxes.double()
    near = near_center(anchors, gt, 1.5)
    used = near.any(0)
    overlap = plain_iou(gt, predictions.boxes[0])
    joint = (logits.sigmoid() * predictions.quality[0].double().sigmoid()[:, None]).sqrt()
    target = F.one_hot(truth.labels, logits.shape[1]).double()
    class_cost = torch.stack(
        [F.binary_cross_entropy(joint, t.expand_as(joint), reduction="none").sum(1) for t in target]
    )
    cost = class_cost - 3 * (overlap + 1e-8).log() + 1e6 * ~near
    cost[:, ~used] = torch.inf
    taken = torch.zeros_like(near)
    for row in range(len(gt)):
        k = max(1, int(overlap[row, used].sort(descending=True).values[:10].sum()))
        taken[row, cost[row].argsort()[:k]] = True
    return resolve(taken, cost)


def plain_iou(gt: Tensor, boxes: Tensor) -> Tensor:
    return box_iou(gt, ordered(boxes.double())).nan_to_num()


def near_center(anchors: Anchors, gt: Tensor, radius: float) -> Tensor:
    """(G, A) strictly within `radius` strides of the box's centre, in the box or not."""
    center = (gt[:, :2] + gt[:, 2:]) / 2
    return (anchors.points.double() - center[:, None]).abs().amax(-1) < radius * anchors.strides.double()


def resolve(taken: Tensor, cost: Tensor) -> Tensor:
    winner = torch.where(taken.sum(0) > 1, cost.argmin(0), taken.int().argmax(0))
    return torch.where(taken.any(0), winner, BACKGROUND)


@pytest.mark.parametrize("seed", range(4))
def test_default_equals_its_definition(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    compared = 0
    for trial in range(15):
        num_boxes = int(torch.randint(1, 30, (1,), generator=generator))
        predictions, anchors, truths = random_problem(generator, num_boxes, 5, late=trial % 2 == 0)
        prior = window_prior(anchors.points.double(), anchors.strides.double(), truths[0].boxes.double(), 2.5)
        if not prior.any(1).all():
            continue  # a box without a candidate is the fallback's business
        assignment = SimOTAAssigner()(predictions, anchors, truths)
        assert torch.equal(assignment.gt_index[0], plain_simota(predictions, anchors, truths[0]))
        compared += 1
    assert compared >= 8


@pytest.mark.parametrize("seed", range(4))
def test_yolox_settings_equal_yolox(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for trial in range(15):
        num_boxes = int(torch.randint(1, 30, (1,), generator=generator))
        predictions, anchors, truths = random_problem(generator, num_boxes, 5, late=trial % 2 == 0)
        assert near_center(anchors, truths[0].boxes.double(), 1.5).any(1).all()
        assignment = SimOTAAssigner.yolox()(predictions, anchors, truths)
        assert torch.equal(assignment.gt_index[0], plain_yolox(predictions, anchors, truths[0]))


def two_boxes_three_anchors() -> tuple[Predictions, Anchors, GroundTruth]:
    """Points at 4, 12 and 20; both boxes hold all three. Every prediction is exactly one of the boxes."""
    points = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])
    anchors = Anchors(points, points.repeat(1, 2), torch.full((3,), 8.0), ((1, 3),))
    truth = GroundTruth(torch.tensor([[0.0, 0.0, 24.0, 8.0], [2.0, 0.0, 22.0, 8.0]]), torch.tensor([0, 1]))
    logits = torch.tensor([[4.0, -4.0], [2.0, 2.0], [-4.0, 4.0]])
    boxes = truth.boxes[torch.tensor([0, 1, 1])]
    return Predictions(logits[None], boxes[None]), anchors, truth


def test_an_anchor_wanted_twice_goes_to_the_cheaper_box_and_is_ambiguous() -> None:
    predictions, anchors, truth = two_boxes_three_anchors()
    assignment = SimOTAAssigner(k=2)(predictions, anchors, [truth])
    # Box 0 wants anchors 0 and 1, box 1 wants 2 and 1; the prediction at 1 is box 1 itself.
    assert assignment.gt_index.tolist() == [[0, 1, 1]]
    assert assignment.ambiguous.tolist() == [[False, True, False]]


def test_one_label_a_box_takes_each_box_its_cheapest() -> None:
    predictions, anchors, truth = two_boxes_three_anchors()
    assignment = SimOTAAssigner(k=1)(predictions, anchors, [truth])
    assert assignment.gt_index.tolist() == [[0, BACKGROUND, 1]]
    assert not assignment.ambiguous.any()


ASSIGNERS = pytest.mark.parametrize("assigner", [SimOTAAssigner(), SimOTAAssigner.yolox()], ids=["ours", "yolox"])


@ASSIGNERS
def test_a_box_between_the_points_gets_an_anchor(assigner: SimOTAAssigner, generator: torch.Generator) -> None:
    predictions, anchors, _ = random_problem(generator, 1, 3, late=False)
    truth = GroundTruth(torch.tensor([[100.0, 60.0, 101.5, 61.5]]), torch.tensor([2]))
    assert (assigner(predictions, anchors, [truth]).gt_index == 0).any()
