"""Nothing is silenced unsaid: beside any other setting of its part a field still changes what the part does, or is an
error.

What parts do is looked at, rather than what they hold: labels, rates, updates, losses and detections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from otadet.errors import UserError
from otadet.exp import BaseExp
from otadet.exp.fields import all_fields
from otadet.exp.words import WORDS
from otadet.structures import GroundTruth, Predictions
from otadet.values import choices_of, options_of
from tests.helpers.problems import early_predictions, late_predictions, make_anchors, make_truth

VALUES = {
    "k": ("3",),
    "top_q": ("4",),
    "radius": ("1.1", "none"),
    "eps": ("0.8",),
    "iterations": ("1", "8"),
    "tolerance": ("1.0",),
    "prior": ("nearest", "none"),
    "ambiguity": ("min_area",),
    "ranges": ("0,40",),
    "iou_weight": ("0", "6"),
    "alpha": ("0", "0.7", "1"),
    "beta": ("0", "2"),
    "class_weight": ("0", "9"),
    "l1_weight": ("0", "9"),
    "giou_weight": ("0", "9"),
    "topk": ("3",),
    "margin": ("3",),
    "gamma": ("0.5", "6"),
    "positive": ("0.8",),
    "negative": ("0.2",),
    "threshold": ("0.3",),
    "class_cost": ("bce", "joint_bce", "qfl"),
    "box_cost": ("giou", "iou"),
    "cost": ("ota", "yolox", "rtmdet"),
    "prior_cost": ("none",),
    "base": ("3",),
    "class_loss": ("qfl", "vfl", "mal", "bce"),
    "at": ("0.3,0.5",),
    "warmup": ("0", "0.1"),
    "warmup_start": ("0.4",),
    "factor": ("0.5",),
    "final": ("0.3",),
    "lr": ("0.3",),
    "momentum": ("0", "0.5"),
    "weight_decay": ("0", "0.3"),
    "quality_weight": ("0.25",),
    "box_weight": ("0.6",),
    "bag_size": ("3",),
    "score_threshold": ("0.6",),
    "topk_per_level": ("5",),
    "nms_iou": ("0.9", "0"),
    "max_detections": ("12",),
}
"""By name of a field: other valid values, between them such as may silence another field."""


def problem() -> tuple[Predictions, Any, list[GroundTruth]]:
    """A batch of crowds, tiny boxes and boxes of all sizes, with good and bad predictions of few classes."""
    generator = torch.Generator().manual_seed(0)
    anchors = make_anchors(96, 128)
    truths = [make_truth(generator, 20, 2, 96, 128) for _ in range(3)]
    corner = 16 + 50 * torch.rand(20, 2, generator=generator)
    tiny = torch.cat((corner, corner + 3 + 5 * torch.rand(20, 2, generator=generator)), 1)
    truths.append(GroundTruth(tiny, truths[0].labels))
    late, early = late_predictions(generator, anchors, truths, 2), early_predictions(generator, anchors, 1, 2)
    logits, boxes, quality = (
        torch.cat((getattr(late, name), getattr(early, name))) for name in ("logits", "boxes", "quality")
    )
    return Predictions(logits + 2, boxes, quality), anchors, [*truths, truths[0]]


PREDICTIONS, ANCHORS, TRUTHS = problem()


def predictions_for(exp: BaseExp) -> Predictions:
    return replace(PREDICTIONS, quality=None) if getattr(exp.model, "quality", "own") is None else PREDICTIONS


def labels(exp: BaseExp) -> list[Any]:
    assert exp.assigner is not None
    found = exp.assigner(PREDICTIONS, ANCHORS, TRUTHS)
    return [part.tolist() for part in (found.gt_index, found.ambiguous, found.score) if part is not None]


def rates(exp: BaseExp) -> list[Any]:
    rate = exp.build_schedule(1000)
    return [round(rate(iteration), 9) for iteration in range(0, exp.iterations(1000), 7)]


def updates(exp: BaseExp) -> list[Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.5, 1)
    optimizer = exp.build_optimizer(model)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 3, 4, 4).cumsum(2)).square().mean().backward()
        optimizer.step()
    return [parameter.tolist() for parameter in model.parameters()]


def losses(exp: BaseExp) -> list[Any]:
    return [float(value) for value in exp.build_loss()(predictions_for(exp), ANCHORS, TRUTHS).values()]


def detections(exp: BaseExp) -> list[Any]:
    found = exp.postprocess(predictions_for(exp), ANCHORS, [(64, 96)] * len(TRUTHS))
    return [(one.scores.tolist(), one.boxes.tolist()) for one in found]


SMALL = "postprocess.score_threshold 0.2 postprocess.topk_per_level 30 postprocess.max_detections 60"
WITH = {"free_anchor": "assigner none", "bce_iou": "model yolox_nano"}
"""By word: what it cannot be without."""
BASE = {
    "ota": "assigner.iterations 12 assigner.eps 0.5",
    "steps": "schedule.warmup 0.05 schedule.at 0.6,0.8",
    "cosine": "schedule.warmup 0.05",
}
"""By word: settings that the others are beside, so that little data shows what each does."""
KINDS: list[tuple[str, str, tuple[str, ...], Callable[[BaseExp], list[Any]]]] = [
    *(("assigner", word, ("assigner",), labels) for word in WORDS["assigner"]),
    *(("schedule", word, ("schedule",), rates) for word in WORDS["schedule"]),
    *(("optimizer", word, ("optimizer",), updates) for word in WORDS["optimizer"]),
    *(("loss", word, ("loss", "model.quality"), losses) for word in WORDS["loss"]),
    ("run", "", ("postprocess", "model.quality"), detections),
]


def exp_with(kind: str, word: str, *settings: str) -> BaseExp:
    exp = copy(base_exp(kind, word))
    exp.override(settings)
    return exp


@cache
def base_exp(kind: str, word: str) -> BaseExp:
    exp = BaseExp()
    exp.override(["length", "500iterations", "model.quality", "iou", *SMALL.split()])
    exp.override([kind, word] * bool(word) + WITH.get(word, "").split())
    exp.override(BASE.get(word, "").split())
    return exp


def settings_of(exp: BaseExp, parts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for field in all_fields(exp):
        if (field.path in parts and not choices_of(field.hint)) or not field.path.startswith(parts):
            continue
        if choices := [choice for choice in choices_of(field.hint) if choice != field.value]:
            texts = tuple("none" if choice is None else str(choice) for choice in choices)
        else:
            texts = (str(not field.value),) if bool in options_of(field.hint) else VALUES.get(field.name, ())
        yield from ((field.path, text) for text in texts)


@pytest.mark.parametrize(("kind", "word", "parts", "behaviour"), KINDS, ids=lambda value: str(value)[:20])
def test_beside_any_other_setting(
    kind: str, word: str, parts: tuple[str, ...], behaviour: Callable[[BaseExp], list[Any]]
) -> None:
    settings = list(settings_of(exp_with(kind, word), parts))

    @cache
    def done(chosen: frozenset[tuple[str, str]]) -> list[Any] | None:
        """None where the settings are an error together."""
        try:
            return behaviour(exp_with(kind, word, *(text for setting in sorted(chosen) for text in setting)))
        except UserError:
            return None

    silenced = []
    for first in settings:
        changed: dict[str, bool] = {}
        for path, text in settings:
            if not path.startswith(first[0]) and not first[0].startswith(path):
                both = done(frozenset((first, (path, text))))
                changed[path] = changed.get(path, False) or both is None or both != done(frozenset((first,)))
        silenced += [f"{path} beside {' '.join(first)}" for path, is_heard in changed.items() if not is_heard]
    assert not silenced, "\n".join(silenced)
