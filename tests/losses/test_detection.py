"""The loss on answers that are known beforehand, and its independence of everything that should not matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from otadet.assigners import Assigner, DSLAAssigner, OTAAssigner
from otadet.losses import DetectionLoss, centerness_target, iou_target
from otadet.structures import BACKGROUND, IGNORED, Assignment, GroundTruth, Predictions
from tests.helpers.counting import fake_problem
from tests.helpers.problems import make_anchors, random_problem


class Fixed(Assigner):
    """Gives the answer it was made with."""

    def __init__(self, gt_index: Tensor, score: Tensor | None = None, weight: Tensor | None = None) -> None:
        self.gt_index, self.score, self.weight = gt_index, score, weight

    def assign(self, predictions, anchors, truth) -> Assignment:
        return Assignment(self.gt_index, torch.zeros_like(self.gt_index, dtype=torch.bool), self.score, self.weight)


def test_terms_are_those_of_torchvision(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 6, 4, num_images=2)
    gt_index = OTAAssigner()(predictions, anchors, truths).gt_index
    losses = DetectionLoss(OTAAssigner())(predictions, anchors, truths)
    image, anchor = (gt_index >= 0).nonzero(as_tuple=True)
    number = gt_index[image, anchor]
    labels = torch.stack([truths[i].labels[n] for i, n in zip(image, number, strict=True)])
    boxes = torch.stack([truths[i].boxes[n] for i, n in zip(image, number, strict=True)])
    target = torch.zeros_like(predictions.logits)
    target[image, anchor, labels] = 1
    focal = sigmoid_focal_loss(predictions.logits, target, reduction="sum") / len(image)
    giou = generalized_box_iou_loss(predictions.boxes[image, anchor], boxes, reduction="sum") / len(image)
    torch.testing.assert_close(losses["cls"], focal)
    torch.testing.assert_close(losses["box"], 2 * giou)


def test_quality_is_trained_towards_the_iou() -> None:
    anchors = make_anchors(32, 32)
    size = len(anchors.points)
    truth = GroundTruth(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([0]))
    boxes = torch.tensor([0.0, 0.0, 16.0, 8.0]).expand(1, size, 4)  # IoU 0.5
    gt_index = torch.full((1, size), BACKGROUND)
    gt_index[0, 0] = 0
    losses = DetectionLoss(Fixed(gt_index))(
        Predictions(torch.zeros(1, size, 1), boxes, torch.zeros(1, size)), anchors, [truth]
    )
    assert losses["quality"].item() == pytest.approx(0.5 * math.log(2))
    assert losses["box"].item() == pytest.approx(2 * 0.5)


def test_ignored_anchors_count_for_nothing(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 3, 2)
    gt_index = torch.full((1, len(anchors.points)), IGNORED)
    gt_index[0, 5] = 1
    losses = DetectionLoss(Fixed(gt_index))(predictions, anchors, truths)
    logit = predictions.logits[0, 5]
    target = torch.nn.functional.one_hot(truths[0].labels[1], 2).float()
    torch.testing.assert_close(losses["cls"], sigmoid_focal_loss(logit, target, reduction="sum"))


def test_soft_targets_and_weights_of_anchors(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3, num_images=2)
    gt_index = OTAAssigner()(predictions, anchors, truths).gt_index
    score, weight = (torch.rand(gt_index.shape, generator=generator) for _ in range(2))
    losses = DetectionLoss(Fixed(gt_index, score, weight))(predictions, anchors, truths)
    image, anchor = (gt_index >= 0).nonzero(as_tuple=True)
    number = gt_index[image, anchor]
    labels = torch.stack([truths[i].labels[n] for i, n in zip(image, number, strict=True)])
    boxes = torch.stack([truths[i].boxes[n] for i, n in zip(image, number, strict=True)])
    target = torch.zeros_like(predictions.logits)
    target[image, anchor, labels] = score[image, anchor]
    logits, probability = predictions.logits, predictions.logits.sigmoid()
    entropy = -(
        target * torch.nn.functional.logsigmoid(logits) + (1 - target) * torch.nn.functional.logsigmoid(-logits)
    )
    focal = (0.25 * target + 0.75 * (1 - target)) * (target - probability) ** 2 * entropy
    giou = generalized_box_iou_loss(predictions.boxes[image, anchor], boxes)
    torch.testing.assert_close(losses["cls"], (focal * weight[..., None]).sum() / target.sum())
    giou = giou * (score * weight)[image, anchor]
    torch.testing.assert_close(losses["box"], 2 * giou.sum() / target.sum())


def test_soft_targets_and_weights_of_1_change_nothing(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3)
    gt_index = OTAAssigner()(predictions, anchors, truths).gt_index
    ones = torch.ones(gt_index.shape)
    hard, soft = (
        DetectionLoss(rule)(predictions, anchors, truths) for rule in (Fixed(gt_index), Fixed(gt_index, ones, ones))
    )
    assert hard.keys() == {"cls", "box", "quality"}
    for name, value in hard.items():
        torch.testing.assert_close(soft[name], value)


def test_a_batch_without_boxes_trains_the_background(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 0, 2, num_images=2)
    predictions.logits.requires_grad_(True)
    predictions.boxes.requires_grad_(True)
    losses = DetectionLoss(OTAAssigner())(predictions, anchors, truths)
    assert losses["box"].item() == 0
    sum(losses.values()).backward()
    assert predictions.logits.grad.abs().sum() > 0
    assert predictions.boxes.grad.abs().sum() == 0


def test_half_precision_gives_the_loss_of_the_same_values_in_float32(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3)
    half = Predictions(predictions.logits.bfloat16(), predictions.boxes, predictions.quality.bfloat16())
    full = Predictions(half.logits.float(), half.boxes, half.quality.float())
    loss = DetectionLoss(OTAAssigner())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        in_half = loss(half, anchors, truths)
    for name, value in loss(full, anchors, truths).items():
        assert in_half[name].dtype == torch.float32
        assert torch.equal(in_half[name], value)


def test_without_a_quality_branch(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3)
    losses = DetectionLoss(OTAAssigner())(Predictions(predictions.logits, predictions.boxes), anchors, truths)
    assert set(losses) == {"cls", "box"}


def test_extreme_predictions_give_a_finite_loss_and_gradient(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3)
    signs = torch.where(torch.rand(predictions.logits.shape, generator=generator) < 0.5, -50.0, 50.0).requires_grad_()
    boxes = torch.cat((anchors.points, anchors.points), -1)[None].clone().requires_grad_()
    losses = DetectionLoss(OTAAssigner())(Predictions(signs, boxes, predictions.quality), anchors, truths)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert signs.grad.isfinite().all()
    assert boxes.grad.isfinite().all()


def test_centerness_on_known_points() -> None:
    points = torch.tensor([[8.0, 4.0], [2.0, 4.0], [2.0, 2.0], [20.0, 4.0]])
    boxes = torch.tensor([0.0, 0.0, 16.0, 8.0]).expand(1, 4, 4)
    target = centerness_target(points, boxes, boxes)
    assert target[0].tolist() == pytest.approx([1.0, math.sqrt(2 / 14), math.sqrt(2 / 14 * 2 / 6), 0.0])


def test_quality_is_trained_towards_its_target(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 6, 4)
    sure = Predictions(predictions.logits, predictions.boxes, torch.full_like(predictions.quality, 100.0))
    loss = DetectionLoss(OTAAssigner(), quality_target=lambda points, predicted, boxes: torch.ones_like(boxes[..., 0]))
    assert loss(sure, anchors, truths)["quality"].item() == pytest.approx(0)
    assert DetectionLoss(OTAAssigner())(sure, anchors, truths)["quality"].item() > 1


def plain_box_loss(
    predictions: Predictions, points: Tensor, truths: list[GroundTruth], gt_index: Tensor, centrality: bool
) -> Tensor:
    """One positive at a time, in float64: the weighted mean of 1 - GIoU, by centre-ness or by IoU."""
    total = weights = torch.zeros((), dtype=torch.float64)
    for image, anchor in (gt_index >= 0).nonzero().tolist():
        box = truths[image].boxes[gt_index[image, anchor]].double()
        predicted = predictions.boxes[image, anchor].double()
        if centrality:
            left, top = (points[anchor].double() - box[:2]).clamp(min=0)
            right, bottom = (box[2:] - points[anchor].double()).clamp(min=0)
            weight = (min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)).sqrt()
        else:
            weight = box_iou(predicted[None].detach(), box[None])[0, 0]
        total = total + weight * generalized_box_iou_loss(predicted, box)
        weights = weights + weight
    return total / weights


@pytest.mark.parametrize("centrality", [True, False], ids=["centre-ness", "IoU"])
def test_box_loss_weighted_by_quality(centrality: bool, generator: torch.Generator) -> None:
    """Value and gradient are those of a plain loop, in which no gradient goes through the weights."""
    predictions, anchors, truths = random_problem(generator, 6, 4, num_images=2)
    # Boxes in the corners' order, as the plain loop's IoU has no notion of crossed ones.
    corners = predictions.boxes.view(2, -1, 2, 2).sort(dim=2).values.flatten(2)
    boxes = [corners.clone().requires_grad_() for _ in range(2)]
    ours, plain = (Predictions(predictions.logits, box, predictions.quality) for box in boxes)
    target = centerness_target if centrality else iou_target
    loss = DetectionLoss(OTAAssigner(), box_weight=1.3, quality_target=target, box_weighting="quality")
    value = loss(ours, anchors, truths)["box"]
    gt_index = OTAAssigner()(predictions, anchors, truths).gt_index
    expected = 1.3 * plain_box_loss(plain, anchors.points, truths, gt_index, centrality)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    value.backward()
    expected.backward()
    torch.testing.assert_close(boxes[0].grad, boxes[1].grad, rtol=1e-4, atol=1e-9)


def test_weighting_leaves_the_other_losses_alone(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 6, 4)
    plain = DetectionLoss(OTAAssigner())(predictions, anchors, truths)
    weighted = DetectionLoss(OTAAssigner(), box_weighting="quality")(predictions, anchors, truths)
    assert torch.equal(plain["cls"], weighted["cls"])
    assert torch.equal(plain["quality"], weighted["quality"])
    assert weighted["box"] < plain["box"]


@pytest.mark.parametrize("num_boxes", [0, 3])
@pytest.mark.parametrize("target", [iou_target, centerness_target])
def test_weights_of_nothing_give_a_box_loss_of_0(num_boxes: int, target, generator: torch.Generator) -> None:
    """No object at all; and positives whose quality is 0, as the predictions lie far from the image."""
    predictions, anchors, truths = random_problem(generator, num_boxes, 2, num_images=2)
    boxes = (predictions.boxes + 5000).requires_grad_()
    gt_index = torch.full(predictions.boxes.shape[:2], 0 if num_boxes else BACKGROUND)
    gt_index[:, 1:] = BACKGROUND
    truths = [GroundTruth(truth.boxes + 2500, truth.labels) for truth in truths]
    loss = DetectionLoss(Fixed(gt_index), quality_target=target, box_weighting="quality")
    losses = loss(Predictions(predictions.logits, boxes, predictions.quality), anchors, truths)
    assert losses["box"].item() == 0
    losses["box"].backward()
    assert boxes.grad.abs().sum() == 0


def test_weighting_needs_no_quality_branch(generator: torch.Generator) -> None:
    predictions, anchors, truths = random_problem(generator, 5, 3)
    loss = DetectionLoss(OTAAssigner(), box_weighting="quality")
    without = loss(Predictions(predictions.logits, predictions.boxes), anchors, truths)
    assert torch.equal(without["box"], loss(predictions, anchors, truths)["box"])


def test_no_other_weighting_is_known() -> None:
    with pytest.raises(ValueError, match="box_weighting 'iou': choose 'none' or 'quality'"):
        DetectionLoss(OTAAssigner(), box_weighting="iou")


@pytest.mark.parametrize("sizes", [[3, 0, 5], [0, 0]], ids=str)
@pytest.mark.parametrize("target", [iou_target, centerness_target])
def test_does_not_wait_for_the_device(sizes: list[int], target) -> None:
    with FakeTensorMode():
        losses = DetectionLoss(OTAAssigner(), quality_target=target, box_weighting="quality")(*fake_problem(sizes))
    for loss in losses.values():
        assert (loss.device.type, loss.dtype, loss.shape) == ("cuda", torch.float32, ())


@pytest.mark.parametrize("rule", [OTAAssigner(), DSLAAssigner()], ids=["hard", "soft"])
@pytest.mark.parametrize("is_empty", [False, True])
def test_ranks_that_share_a_batch_have_its_loss_together(
    rule: Assigner, is_empty: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rank has one image; the mean of their losses, as of their gradients, is the loss of the batch per rank."""
    predictions, anchors, truths = random_problem(generator, 6, 4, num_images=2)
    if is_empty:
        truths[1] = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    loss = DetectionLoss(rule, box_weighting="quality")
    whole = loss(predictions, anchors, truths)
    shares = [(_image(predictions, image), anchors, truths[image : image + 1]) for image in (0, 1)]
    sums: list[list[Tensor]] = []
    for share in shares:
        sums.append([])
        monkeypatch.setattr("otadet.losses.common.mean_over_ranks", lambda count: sums[-1].append(count) or count)
        loss(*share)
    means = [sum(counts) / 2 for counts in zip(*sums, strict=True)]
    parts = []
    for share in shares:
        left = iter(means)
        monkeypatch.setattr("otadet.losses.common.mean_over_ranks", lambda count, left=left: next(left))
        parts.append(loss(*share))
    for name, value in whole.items():
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)


def _image(predictions: Predictions, image: int) -> Predictions:
    return Predictions(*(part[image : image + 1] for part in vars(predictions).values()))
