"""The recipe for fine-tuning: a checkpoint's own detector, trained on other data, as these and it ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from otadet.data.check.statistics import Statistics, share_below
from otadet.data.sample import TrainTransform
from otadet.data.transforms import ColorJitter, Letterbox, RandomAffine, RandomFlip, ResizeShortestEdge
from otadet.engine.freezing import training_norms
from otadet.exp.base import BaseExp
from otadet.exp.data import DataFolder
from otadet.exp.fitting import Choice, Chooser, FittedExp
from otadet.exp.load import unread
from otadet.exp.recipe import (
    FEWEST_ITERATIONS,
    SMALL,
    batch_said,
    batch_size,
    crowd_detections,
    crowd_nms,
    multiple,
    rhythm,
    usual_and_fitting,
    wanted_edge,
)
from otadet.exp.run import Run
from otadet.exp.stored import StoredExp, stored_exp
from otadet.optim.length import Epochs
from otadet.optim.optimizer import AdamW
from otadet.optim.schedule import Cosine

KEPT = ("model", "input", "postprocess", "assigner", "loss")
"""Fields that are the checkpoint's."""
SMALLER, LARGER = 0.75, 1.5
"""Times the checkpoint's input that the input is at least and at most: its weights know objects of these sizes."""
EPOCHS = ((300, 100), (2_000, 30), (20_000, 15), (math.inf, 8))
"""(fewer pictures than this, how often each is shown)."""
MOST_EPOCHS = 200
RATE, RATE_OF = 1e-3, 1e6
"""Learning rate of a network of that many parameters; larger ones have one smaller by the root of their number."""
LOWEST_RATE = 1e-4
BACKBONE_FACTOR = 0.5
STRENGTHS: tuple[tuple[float, str, tuple[TrainTransform, ...]], ...] = (
    (2_000, "strong", (RandomAffine(scale=(0.6, 1.6)), RandomFlip(0.5), ColorJitter())),
    (20_000, "medium", (RandomAffine(scale=(0.8, 1.25), translate=0.05), RandomFlip(0.5), ColorJitter())),
    (math.inf, "light", (RandomFlip(0.5), ColorJitter())),
)
"""(fewer pictures than this, word, augmentation)."""
ONE_WAY = 0.9
"""Share of the pictures that are all wide or all tall, from which on a letterbox need not be square."""
FEW_IN_A_BATCH = 4
"""Images; of fewer the statistics of batch norms are worse than those of the checkpoint."""


class FineTuneExp(FittedExp, StoredExp):
    """The experiment of a checkpoint, trained on.

    Network, input, rule, loss and postprocessing are the checkpoint's; all that says how to train is chosen for the
    data, and the input's size near the checkpoint's.
    """

    def choosers(self) -> Iterable[Chooser]:
        return (_input_size, batch_size, _length_and_rhythm, _strength, crowd_nms, crowd_detections)


def fine_tune_exp(path: object, state: Mapping[str, Any]) -> FineTuneExp:
    """That of the checkpoint at `path`, before its data are named.

    state: what `load_checkpoint` returned. Raises `UserError` as `stored_exp` does.
    """
    stored = stored_exp(path, state, KEPT)
    exp = FineTuneExp(stored.name, {})
    for name in KEPT:
        setattr(exp, name, getattr(stored, name))
    exp.data = DataFolder("datasets/mine")
    exp.augment = STRENGTHS[0][2]
    exp.optimizer = AdamW(lr=RATE, weight_decay=0.05, weight_decay_on="weights", backbone_factor=BACKBONE_FACTOR)
    exp.schedule = Cosine(warmup=0.05, final=0.02)
    exp.length = Epochs(EPOCHS[0][1])
    exp.run = Run(batch_size=8, workers=0, group_by_aspect=False, amp=True, grad_clip=10.0, ema=0.99)
    return exp


def fitting_input(found: Statistics, own: Letterbox | ResizeShortestEdge) -> Letterbox | ResizeShortestEdge:
    """`own`, the resize rule of a checkpoint, with the size that the boxes ask for, as near as it is to be kept."""
    known = found.image_sizes[(found.image_sizes > 0).all(axis=1)]
    if not len(known):
        return own
    short, long = np.median(known.min(axis=1)), np.median(known.max(axis=1))
    trained = max(own.size) if isinstance(own, Letterbox) else own.sizes[-1] * long / short
    wanted = min(wanted_edge(found) * long / short, long)
    side = min(max(wanted, SMALLER * trained), LARGER * trained)
    length, width = multiple(side), multiple(side * short / long)
    if isinstance(own, ResizeShortestEdge):
        return replace(own, sizes=(width,), max_size=length)
    is_wide = known[:, 1] >= known[:, 0]
    if is_wide.mean() >= ONE_WAY:
        return replace(own, size=(width, length))
    return replace(own, size=(length, width) if (~is_wide).mean() >= ONE_WAY else (length, length))


def _input_size(found: Statistics, exp: BaseExp, devices: int) -> Iterable[Choice]:
    own = exp.input.resize
    resize = fitting_input(found, own)
    below = 100 * share_below(found.box_sizes_at(resize), SMALL)
    why = "as the checkpoint's" if resize == own else f"near the checkpoint's {_shown(own)}"
    reason = f"input.resize {_shown(resize)}: {why}; {below:.0f} % of the boxes are below {SMALL} px there"
    yield Choice("input.resize", resize, reason)
    yield Choice("run.group_by_aspect", isinstance(resize, ResizeShortestEdge))


def _length_and_rhythm(found: Statistics, exp: BaseExp, devices: int) -> Iterable[Choice]:
    batch = exp.run.images_per_step
    usual, epochs = usual_and_fitting(found.images, batch, EPOCHS, MOST_EPOCHS)
    iterations = Epochs(epochs).iterations(found.images, batch)
    why = f"for {found.images:,} pictures" if epochs == usual else f"at least {FEWEST_ITERATIONS} iterations"
    if iterations < FEWEST_ITERATIONS:
        why = "no more for so few pictures"
    reason = f"length {epochs}epochs, {why}: {iterations:,} of {batch_said(exp.run)}"
    yield Choice("length", f"{epochs}epochs", reason)
    yield from rhythm(found, exp, devices)


def _strength(found: Statistics, exp: BaseExp, devices: int) -> Iterable[Choice]:
    parameters, has_norms = network_of(exp, len(found.class_names))
    rate = fitting_rate(parameters)
    ema = round(min(max(1 - 10 / exp.iterations(found.images), 0.9), 0.9998), 4)
    _, word, augment = next(strength for strength in STRENGTHS if found.images < strength[0])
    slower = f"{getattr(exp.optimizer, 'backbone_factor', 1):g} of it for the backbone"
    yield Choice("optimizer.lr", f"{rate:g}", f"optimizer.lr {rate:g}, {slower}")
    yield Choice("augment", augment, f"augment {word}")
    yield Choice("run.ema", ema, f"run.ema {ema:g}")
    if exp.run.batch_size < FEW_IN_A_BATCH * devices and has_norms:
        yield Choice("run.freeze_norms", True, "run.freeze_norms true, as a batch is so small")


def fitting_rate(parameters: int) -> float:
    """The learning rate of AdamW for a network of that size, in two digits."""
    return float(f"{max(LOWEST_RATE, RATE * min(1.0, math.sqrt(RATE_OF / parameters))):.2g}")


def network_of(exp: BaseExp, classes: int) -> tuple[int, bool]:
    """How many parameters the experiment's network has, which is not really made, and whether any of its batch norms
    use the statistics of the batch."""
    with torch.device("meta"):
        model = unread(exp).build_model(classes)
    return sum(parameter.numel() for parameter in model.parameters()), bool(training_norms(model))


def _shown(resize: Letterbox | ResizeShortestEdge) -> str:
    """As on a command line."""
    if isinstance(resize, Letterbox):
        return f"{resize.size[0]}x{resize.size[1]}"
    return f"{','.join(map(str, resize.sizes))}/{resize.max_size}"
