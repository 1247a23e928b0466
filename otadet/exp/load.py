"""From an experiment and a checkpoint to a detector."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from loguru import logger

from otadet.engine.checkpoint import load_checkpoint, put_weights
from otadet.engine.older import NETWORK, check_same_values, with_older_fields
from otadet.engine.restore import changed_fields
from otadet.errors import UserError
from otadet.exp.base import BaseExp
from otadet.inference.pipeline import Pipeline
from otadet.inference.predictor import Predictor
from otadet.models.detector import Detector, as_detector
from otadet.names import name_list


def load_predictor(exp: BaseExp, checkpoint: str | Path, device: torch.device | str = "cpu") -> Predictor:
    """The experiment's detector with a checkpoint's weights (the averaged ones, if any) and class names.

    Raises `UserError` for a checkpoint that cannot be read or does not fit the experiment.
    """
    pipeline = load_pipeline(exp, checkpoint)
    return Predictor(pipeline, device=device, options=replace(exp.build_read_options(), upright=True))


def load_pipeline(
    exp: BaseExp,
    checkpoint: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    state: dict[str, Any] | None = None,
) -> Pipeline:
    """The experiment's pipeline with a checkpoint's weights and class names; all else is as in `load_detector`."""
    model, state = load_detector(exp, checkpoint, class_names, state=state)
    return exp.build_pipeline(model, state["class_names"])


def load_detector(
    exp: BaseExp,
    checkpoint: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    state: dict[str, Any] | None = None,
) -> tuple[Detector, dict[str, Any]]:
    """The experiment's model with a checkpoint's weights, in evaluation mode on the CPU, and the checkpoint's content.

    class_names: those of the data that the model is to be used on; None takes the checkpoint's. state: what
    `load_checkpoint` returned, where it was called already. Raises `UserError` for
    a checkpoint that cannot be read, does not fit the experiment, or was trained for other classes.
    """
    state = load_checkpoint(checkpoint) if state is None else state
    names = state["class_names"]
    if exp.num_classes not in (None, len(names)):
        raise UserError(
            f"{checkpoint}: trained for {len(names)} classes ({name_list(names)}), but num_classes is "
            f"{exp.num_classes}; leave num_classes unset"
        )
    trained = with_older_fields(state.get("exp") or {})
    check_same_values(checkpoint, NETWORK, trained, exp.describe())
    # The checkpoint has all weights: do not read or download those that its training started from.
    exp = copy(exp)
    exp.weights = None
    model = as_detector(exp.build_model(len(names)))
    put_weights(model, checkpoint, state, class_names)
    own = {"mean": tuple(exp.mean), "std": tuple(exp.std), "image_bits": exp.image_bits}
    if changes := changed_fields(trained, own):
        logger.warning(f"{checkpoint}: the experiment has other values than the training had: {changes}")
    return model.eval(), state
