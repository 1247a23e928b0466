"""How many anchors a rule finds ambiguous with a trained network: N_amb of the OTA paper's Tab. 2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np
import torch

from otadet.assigners import Assigner, ATSSAssigner, OTAAssigner, PAAAssigner
from otadet.assigners.ota import AMBIGUOUS_BELOW
from otadet.data.batch import Batch
from otadet.data.reading import SampleSource
from otadet.data.sample import Sample
from otadet.inference.pipeline import Pipeline
from otadet.structures import Anchors, Assignment, GroundTruth, Predictions

TOP_OF_EACH_LEVEL = (ATSSAssigner, PAAAssigner)
"""Rules whose `topk` counts the candidates of each level, as r x r does."""


@dataclass
class AmbiguityCount:
    """Sums over a data set."""

    images: int = 0
    boxes: int = 0
    """Of ground truth."""
    positives: int = 0
    """Anchors that are some box's."""
    ambiguous: int = 0
    """Anchors, as `Assignment.ambiguous` defines them."""
    contested: int = 0
    """Those that are ambiguous between boxes; OTA's may also be so between a box and the background."""

    def per_image(self, number: int) -> float:
        return number / max(1, self.images)


@dataclass(frozen=True)
class SizedRule:
    """A rule with the paper's r, which is None for a rule that has no such setting."""

    name: str
    r: int | None
    assigner: Assigner


def at_each_r(name: str, rule: Assigner, radii: Iterable[int]) -> list[SizedRule]:
    """The rule with r x r candidates per level for each r (Sec. 3.3, Tab. 2); the rule as it is where it has no r."""
    if not is_dataclass(rule):
        return [SizedRule(name, None, rule)]
    if "radius" in {entry.name for entry in fields(rule)}:
        sized = [SizedRule(name, r, replace(rule, radius=r / 2)) for r in radii]
    elif isinstance(rule, TOP_OF_EACH_LEVEL):
        sized = [SizedRule(name, r, replace(rule, topk=r * r)) for r in radii]
    else:
        sized = []
    return sized or [SizedRule(name, None, rule)]


@torch.no_grad()
def count_ambiguous(pipeline: Pipeline, loader: Iterable[Batch], rules: Sequence[SizedRule]) -> list[AmbiguityCount]:
    """Assign a whole data set by each rule, with one pass of the network, which is put into evaluation mode.

    loader: of `pipeline_loader`.
    """
    device = pipeline.device
    normalize = pipeline.input.pixel_norm().to(device)
    pipeline.model.eval()
    counts = [AmbiguityCount() for _ in rules]
    for batch in loader:
        batch = batch.to(device)
        predictions, anchors = pipeline.model(normalize(batch.images))
        for rule, count in zip(rules, counts, strict=True):
            assignment = rule.assigner(predictions, anchors, batch.truths)
            count.images += len(batch)
            count.boxes += sum(len(truth.boxes) for truth in batch.truths)
            count.positives += int((assignment.gt_index >= 0).sum())
            count.ambiguous += int(assignment.ambiguous.sum())
            if isinstance(rule.assigner, OTAAssigner):
                count.contested += _contested(rule.assigner, predictions, anchors, batch.truths, assignment)
            else:
                count.contested += int(assignment.ambiguous.sum())
    return counts


def _contested(
    rule: OTAAssigner, predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth], assignment: Assignment
) -> int:
    """Positives of which no box transports 0.9 of what all boxes transport there."""
    total = 0
    for image, truth in enumerate(truths):
        if len(truth.boxes) > 1:
            quality = None if predictions.quality is None else predictions.quality[image, None]
            one = Predictions(predictions.logits[image, None], predictions.boxes[image, None], quality)
            mass = rule.mass(one, anchors, truth)
            is_shared = mass.amax(0) < AMBIGUOUS_BELOW * mass.sum(0)
            total += int((is_shared & (assignment.gt_index[image] >= 0)).sum())
    return total


@dataclass(frozen=True)
class EvenlySpaced:
    """`limit` samples from all over a data set, or all of them where it has no more."""

    dataset: SampleSource
    limit: int

    def __len__(self) -> int:
        return min(self.limit, len(self.dataset))

    @property
    def sizes(self) -> np.ndarray | None:
        """(S, 2) height, width in pixels, where the data set knows them."""
        sizes = getattr(self.dataset, "sizes", None)
        return None if sizes is None else sizes[self._rows()]

    def sample(self, index: int) -> Sample:
        return self.dataset.sample(int(self._rows()[index]))

    def _rows(self) -> np.ndarray:
        return np.linspace(0, len(self.dataset) - 1, len(self)).round().astype(np.int64)
