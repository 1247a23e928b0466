"""How the images of an experiment's data sets are decoded, in training and in evaluation."""

from __future__ import annotations

import numpy as np
from loguru import logger

from otadet.apps.caching import with_cache
from otadet.data.dataset import DetectionDataset
from otadet.data.sample import TrainTransform, Transform
from otadet.distributed import processes_on_this_machine
from otadet.engine.cores import usable_cores
from otadet.exp import BaseExp, Run


def images_to_train_on(exp: BaseExp, dataset: DetectionDataset, transform: TrainTransform) -> DetectionDataset:
    """The training set with its images decoded as `run.reduced_decoding` has it, for `transform`, and cached.

    Every process of a training calls this.
    """
    dataset = images_decoded(exp, dataset, transform)
    if exp.run.reduced_decoding != "off" and (said := _said(dataset.images.reductions)):
        logger.info(f"decoding: {said}; the training needs no more of them (run.reduced_decoding)")
    return with_cache(exp.run, dataset)


def images_decoded(exp: BaseExp, dataset: DetectionDataset, transform: TrainTransform) -> DetectionDataset:
    """The training set with its images decoded as `run.reduced_decoding` has it, without a cache."""
    return dataset if exp.run.reduced_decoding == "off" else dataset.reduced_for(transform)


def images_to_evaluate(run: Run, dataset: DetectionDataset, transform: Transform) -> DetectionDataset:
    """A set to evaluate on with its images decoded as `run.reduced_decoding` has it; whole unless that is "all".

    transform: that of the pipeline.
    """
    return dataset.reduced_for(transform) if run.reduced_decoding == "all" else dataset


def _said(reductions: np.ndarray) -> str:
    """How many images are decoded at which part of their size; "" where all are whole."""
    counts = {reduction: int((reductions == reduction).sum()) for reduction in (2, 4, 8)}
    parts = [f"{count} at 1/{reduction}" for reduction, count in counts.items() if count]
    return f"{', '.join(parts)} of the size of the files, of {len(reductions)} images" if parts else ""


def data_advice(exp: BaseExp) -> str:
    """What of the experiment may help where a training waits for its data."""
    run, cores = exp.run, usable_cores() // processes_on_this_machine()
    steps = []
    if run.workers < cores:
        steps.append(f"raise run.workers ({run.workers}; there are {cores} cores per process)")
    if run.cache == "none":
        steps.append("set run.cache memory")
    if run.reduced_decoding == "off":
        steps.append("set run.reduced_decoding train")
    return " or ".join(steps) or "store the images at about the size of the input, or on a faster disk"
