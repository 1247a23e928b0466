"""Every rule and loss on any input: a `ValueError`, or a finite answer with indices in range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from otadet.assigners import Assigner, FCOSAssigner, OTAAssigner, SimOTAAssigner, assigner_names, named_assigner
from otadet.assigners.ops.pair_costs import DETRCost, OTACost
from otadet.losses import BCE, MAL, QFL, VFL, DetectionLoss, centerness_target, iou_target
from otadet.losses.free_anchor import FreeAnchorLoss
from otadet.models import AnchorGrid
from otadet.structures import BACKGROUND, IGNORED, Anchors, GroundTruth, Predictions

RULES = {name: named_assigner(name) for name in assigner_names()} | {
    "simota of yolox": SimOTAAssigner.yolox(),
    "fcos without centre sampling": FCOSAssigner(radius=None),
    "ota after min loss": OTAAssigner(ambiguity="min_loss"),
    "ota nearest": OTAAssigner(prior="nearest", k=3),
    "ota of rtmdet": OTAAssigner(cost=OTACost.rtmdet()),
    "simota of detr": SimOTAAssigner(cost=DETRCost()),
    "ota none": OTAAssigner(prior="none", tolerance=1e-3),
}
LOSSES: dict[str, Callable[[], torch.nn.Module]] = {
    "detection": lambda: DetectionLoss(OTAAssigner()),
    "detection by iou": lambda: DetectionLoss(SimOTAAssigner(), quality_target=iou_target, box_weighting="quality"),
    "detection by centre-ness": lambda: DetectionLoss(
        named_assigner("tal_yolo"), quality_target=centerness_target, box_weighting="quality"
    ),
    "free anchor": FreeAnchorLoss,
    **{
        f"detection by {type(part).__name__} and {rule}": lambda part=part, rule=rule: DetectionLoss(
            named_assigner(rule), class_loss=part
        )
        for part, rule in ((QFL(), "dsla"), (VFL(), "tal_soft"), (MAL(), "dsla"), (BCE(), "tal_soft"), (QFL(), "ota"))
    },
}
ODD = (0.0, -0.0, 1.0, -50.0, 50.0, 1e-30, -1e4, 1e9, 1e30, -1e30, 3e38, torch.inf, -torch.inf, torch.nan)


@dataclass(frozen=True)
class Problem:
    predictions: Predictions
    anchors: Anchors
    truths: list[GroundTruth]

    @property
    def parts(self) -> tuple[Predictions, Anchors, list[GroundTruth]]:
        return self.predictions, self.anchors, self.truths


def noise(
    generator: torch.Generator, shape: Sequence[int], spread: float, odd: Sequence[float], share: float
) -> Tensor:
    """Normal numbers, a `share` of them replaced by some of `odd`."""
    values = spread * torch.randn(*shape, generator=generator)
    strange = torch.tensor(odd or (0.0,))[torch.randint(max(1, len(odd)), tuple(shape), generator=generator)]
    return torch.where(torch.rand(*shape, generator=generator) < share, strange, values)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Shapes fit each other; sizes may be 0, and numbers anything."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), max_size=5))
    if draw(st.booleans()):  # what the FCOS rule is made for
        sizes = [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
    grid = AnchorGrid(tuple(8 << level for level in range(len(sizes))))
    anchors = Anchors(torch.zeros(0, 2), torch.zeros(0, 4), torch.zeros(0), ())
    if sizes:
        anchors = grid([torch.empty(1, 1, *size) for size in sizes])
    num_images, num_classes = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    odd = draw(st.lists(st.sampled_from(ODD), max_size=3))
    share = draw(st.sampled_from([0.0, 0.1, 1.0]))
    shape = (num_images, len(anchors.points))
    boxes = anchors.boxes + noise(generator, (*shape, 4), 20.0, odd, share)
    quality = noise(generator, shape, 2.0, odd, share) if draw(st.booleans()) else None
    predictions = Predictions(noise(generator, (*shape, num_classes), 3.0, odd, share), boxes, quality)
    truths = [draw_truth(draw, generator, num_classes) for _ in range(num_images)]
    return Problem(predictions, anchors, truths)


def draw_truth(draw: st.DrawFn, generator: torch.Generator, num_classes: int) -> GroundTruth:
    count = draw(st.integers(0, 6))
    corner = 60 * torch.rand(count, 2, generator=generator)
    boxes = torch.cat((corner, corner + draw(st.sampled_from([-20, 0, 3, 40, 400])) * torch.rand(count, 2)), 1)
    odd = draw(st.lists(st.sampled_from(ODD), max_size=2))
    boxes += noise(generator, boxes.shape, 0.0, odd, draw(st.sampled_from([0.0, 0.0, 0.2])))
    labels = torch.randint(max(1, num_classes), (count,), generator=generator)
    if count and draw(st.integers(0, 9)) == 0:
        labels[-1] = draw(st.sampled_from([-1, num_classes, 2**40, -(2**63)]))
    return GroundTruth(boxes, labels)


@st.composite
def contradictions(draw: st.DrawFn) -> Problem:
    """One tensor of a problem has another shape or type than it should, or the levels another size."""
    problem = draw(problems())
    predictions, anchors, truths = problem.parts
    part = draw(st.sampled_from(["predictions", "anchors", "truths", "level_sizes", "number of truths"]))
    if part == "predictions":
        return replace(problem, predictions=draw_mangled(draw, predictions))
    if part == "anchors":
        return replace(problem, anchors=draw_mangled(draw, anchors))
    if part == "truths" and truths:
        return replace(problem, truths=[draw_mangled(draw, truths[0]), *truths[1:]])
    if part == "level_sizes":
        sizes = draw(st.lists(st.tuples(st.integers(-2, 9), st.integers(-2, 9)), max_size=3))
        return replace(problem, anchors=replace(anchors, level_sizes=tuple(sizes)))
    return replace(problem, truths=truths[1:] if truths else [GroundTruth(torch.zeros(0, 4), torch.zeros(0).long())])


def draw_mangled(draw: st.DrawFn, part):
    name = draw(st.sampled_from([name for name, value in vars(part).items() if isinstance(value, Tensor)]))
    tensor = getattr(part, name)
    ways = [
        lambda: tensor[:-1],
        lambda: tensor[..., :-1],
        lambda: tensor[None],
        lambda: tensor.flatten(),
        lambda: torch.cat((tensor, tensor), -1),
        lambda: tensor.bool(),
        lambda: tensor.nan_to_num(0, 0, 0).to(torch.complex64),
        lambda: tensor.double() if tensor.is_floating_point() else tensor.float(),
        lambda: tensor.nan_to_num(0, 0, 0).clamp(-9, 9).to(torch.int32),
        lambda: torch.full_like(tensor, draw(st.sampled_from(ODD)) if tensor.is_floating_point() else 10**6),
        lambda: tensor.to("meta"),
    ]
    return replace(part, **{name: draw(st.sampled_from(ways))()})


def check_answer(rule: Assigner, problem: Problem) -> None:
    try:
        assignment = rule(*problem.parts)
    except ValueError:
        return
    gt_index, ambiguous = assignment.gt_index, assignment.ambiguous
    assert gt_index.shape == ambiguous.shape == problem.predictions.logits.shape[:2]
    assert (gt_index.dtype, ambiguous.dtype) == (torch.int64, torch.bool)
    assert ((gt_index >= 0) | (gt_index == BACKGROUND) | (gt_index == IGNORED)).all()
    if assignment.score is not None:
        assert ((assignment.score >= 0) & (assignment.score <= 1)).all()
    for row, truth in zip(gt_index, problem.truths, strict=True):
        assert (row < len(truth.boxes)).all()


def check_loss(loss: torch.nn.Module, problem: Problem) -> None:
    predictions = problem.predictions
    tensors = [tensor for tensor in vars(predictions).values() if tensor is not None]
    try:
        losses = loss(*problem.parts)
    except ValueError:
        return
    assert all(value.shape == () and value.dtype == torch.float32 for value in losses.values())
    if all(tensor.isfinite().all() and (tensor.abs() < 1e9).all() for tensor in tensors):
        assert all(value.isfinite() for value in losses.values()), losses


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@settings(max_examples=25)
@given(problem=problems())
def test_rules_on_any_numbers(rule: Assigner, problem: Problem) -> None:
    check_answer(rule, problem)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@settings(max_examples=15)
@given(problem=contradictions())
def test_rules_on_contradictions(rule: Assigner, problem: Problem) -> None:
    check_answer(rule, problem)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@settings(max_examples=40)
@given(problem=problems())
def test_losses_on_any_numbers(loss: Callable[[], torch.nn.Module], problem: Problem) -> None:
    check_loss(loss(), problem)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@settings(max_examples=20)
@given(problem=contradictions())
def test_losses_on_contradictions(loss: Callable[[], torch.nn.Module], problem: Problem) -> None:
    check_loss(loss(), problem)
