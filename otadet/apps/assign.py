"""From an experiment and an image to the answers of rules of label assignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otadet.analysis.assigned import AssignedImage, Grid, RuleResult
from otadet.assigners import Assigner, OTAAssigner
from otadet.data.batch import collate
from otadet.data.sample import Sample
from otadet.exp import BaseExp
from otadet.exp.load import load_detector, without_pretrained
from otadet.models.detector import Detector, as_detector


def build_network(
    exp: BaseExp, checkpoint: str | None, state: dict[str, Any] | None, class_names: tuple[str, ...]
) -> Detector:
    """The trained network, or without a checkpoint one with initial weights, in evaluation mode.

    state: what the checkpoint holds. class_names: (C,) of the data. Raises `UserError` where the two do not fit.
    """
    if checkpoint is not None:
        return load_detector(exp, checkpoint, class_names, state=state)[0]
    torch.manual_seed(exp.run.seed)
    return as_detector(without_pretrained(exp).build_model(len(class_names))).eval()


@torch.no_grad()
def assign(
    exp: BaseExp, model: Detector, sample: Sample, rules: Mapping[str, Assigner], device: torch.device
) -> AssignedImage:
    """The image as the network sees it in evaluation, and the answer of each rule.

    Args:
        exp: whose input it is.
        model: the network, on `device`.
        sample: the image and its boxes.
        rules: by their titles.
        device: where they compute.
    """
    spec = exp.input
    sample = spec.transform(sample, np.random.default_rng(exp.run.seed))
    batch = collate([sample], spec.pad_value, model.size_divisor).to(device)
    predictions, anchors = model(spec.normalize(batch.images))
    results = []
    for title, rule in rules.items():
        found = rule(predictions, anchors, batch.truths)
        mass = rule.mass(predictions, anchors, batch.truths[0]) if isinstance(rule, OTAAssigner) else None
        results.append(
            RuleResult(
                title, _array(found.gt_index[0]), _array(found.ambiguous[0]), None if mass is None else _array(mass)
            )
        )
    grid = Grid(_array(anchors.points), _array(anchors.strides), anchors.level_sizes, anchors.per_location)
    return AssignedImage(sample.image, sample.boxes, grid, results)


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
