"""The pictures that a finished training leaves."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import torch
from loguru import logger

from otadet.data.dataset import DetectionDataset
from otadet.data.sample import Sample
from otadet.engine.trainer import Trainer
from otadet.engine.weights import load_weights
from otadet.errors import UserError
from otadet.exp import BaseExp
from otadet.inference.predictor import Predictor
from otadet.structures import GroundTruth
from otadet.visualize.curves import plot_curves
from otadet.visualize.detections import prediction_sheet

SHEET_IMAGES = 12
SHEET_SCORE = 0.5
"""Detections with a lower score are left out of the sheet."""


def _sample_to_draw(exp: BaseExp, val_set: DetectionDataset, row: int) -> Sample | None:
    try:
        return val_set.sample(row)
    except UserError:
        # Its evaluation has named it already.
        if exp.data.unreadable == "fail":
            raise
        return None


def draw_results(exp: BaseExp, trainer: Trainer, val_set: DetectionDataset) -> None:
    """curves.png and predictions.png, the latter with the best weights, or the last where best.pth is gone."""
    model = trainer.step.best_model
    if os.path.isfile(trainer.best_checkpoint):
        load_weights(model, trainer.best_checkpoint)
    pipeline = exp.build_pipeline(model, val_set.class_names)
    predictor = Predictor(replace(pipeline, postprocess=replace(exp.postprocess, score_threshold=SHEET_SCORE)))
    rows = np.linspace(0, len(val_set) - 1, min(SHEET_IMAGES, len(val_set))).round().astype(int)
    samples = [sample for row in rows if (sample := _sample_to_draw(exp, val_set, row)) is not None]
    truths = [GroundTruth(torch.from_numpy(sample.boxes), torch.from_numpy(sample.labels)) for sample in samples]
    images = [sample.image for sample in samples]
    prediction_sheet(images, predictor(images), val_set.class_names, trainer.output / "predictions.png", truths)
    plot_curves(trainer.output / "metrics.csv", trainer.output / "curves.png")
    score = trainer.settings.best_by
    if trainer.best.value is None or trainer.settings.is_none(trainer.best.value):
        best = f"no {score} on the validation set, so that {trainer.best_checkpoint} is of the last evaluation"
    else:
        best = f"best {score} {trainer.settings.shown(trainer.best.value)}, in {trainer.best_checkpoint}"
    logger.info(f"{best}; curves.png and predictions.png are beside it")
