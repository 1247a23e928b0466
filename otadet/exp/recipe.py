"""Experiments that fit themselves to their data: input size, batch size, length and warm-up, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from otadet.data.check.advice import max_detections, nms_iou
from otadet.data.check.statistics import Statistics, share_below, shortest_edge_for
from otadet.data.transforms import ResizeShortestEdge
from otadet.errors import UserError
from otadet.exp.base import BaseExp
from otadet.exp.fitting import Choice, Chooser, FittedExp
from otadet.exp.heard import check_heard
from otadet.exp.run import Run
from otadet.inference.input_spec import InputSpec
from otadet.optim.length import Epochs, Iterations
from otadet.optim.schedule import Cosine, Steps

SMALL = 16
"""Pixels at the input: a box of that size covers two points of the finest level."""
SMALL_SHARE = 0.1
"""Of the boxes, how many may be smaller."""
DIVISOR = 32
"""Input sizes are multiples of it, as the coarsest stage of a backbone wants them."""
SHORTEST, LONGEST = 256, 640
"""Pixels that an input has by default, where neither the boxes nor the pictures ask for more; and at most."""
BATCH = 8
FEWEST_ITERATIONS = 600
"""From scratch no detector is any good before; fewer fine-tune none either."""
EPOCHS = ((2_000, 40), (20_000, 24), (math.inf, 12))
"""(fewer pictures than this, how often each is shown)."""
MOST_EPOCHS = 400
EVALUATIONS = 5


class RecipeExp(FittedExp):
    """An experiment for whatever data: what neither its file nor the command line sets is chosen for the data.

    That is `input.resize`, `run.batch_size`, `length`, `run.eval_every` and `schedule.warmup`, and for crowds
    `postprocess.nms_iou` and `postprocess.max_detections`. The values below hold where there are no data yet.
    """

    input: InputSpec = InputSpec(ResizeShortestEdge((320,), 320))
    schedule: Steps | Cosine = Cosine(warmup=0.05)
    length: Iterations | Epochs = Epochs(40)
    run: Run = Run(
        batch_size=BATCH, workers=0, group_by_aspect=False, amp=True, grad_clip=10.0, ema=0.995, eval_every=8
    )

    def choosers(self) -> Iterable[Chooser]:
        return (_input_size, batch_size, _length, rhythm, crowd_nms, crowd_detections)

    def is_free(self, path: str) -> bool:
        """Whether nobody has set what is at this path: neither a command, nor the experiment's file."""
        if not super().is_free(path):
            return False
        part, _, field = path.partition(".")
        own, default = getattr(self, part), getattr(RecipeExp, part)
        if field:
            own, default = getattr(own, field, None), getattr(default, field)
        try:
            check_heard(self, BaseExp, part)
        except UserError:
            return False
        return own == default


def fitting_resize(found: Statistics) -> ResizeShortestEdge:
    """The input size that is chosen; that of 320 where no image has a known size."""
    known = found.image_sizes[(found.image_sizes > 0).all(axis=1)]
    if not len(known):
        return ResizeShortestEdge((320,), 320)
    shorter, longer = np.median(known.min(axis=1)), np.median(known.max(axis=1))
    own = multiple(shorter)
    short = min(max(wanted_edge(found), min(SHORTEST, own)), max(SHORTEST, own))
    long = multiple(short * longer / shorter)
    if long > LONGEST:
        short, long = max(DIVISOR, multiple(LONGEST * shorter / longer)), LONGEST
    return ResizeShortestEdge((short,), long)


def wanted_edge(found: Statistics) -> int:
    """The shortest edge that the boxes ask for."""
    return multiple(shortest_edge_for(found, SMALL, SMALL_SHARE))


def _input_size(found: Statistics, exp: BaseExp, devices: int) -> Iterable[Choice]:
    resize, wanted = fitting_resize(found), wanted_edge(found)
    short, long = resize.sizes[0], resize.max_size
    below = share_below(found.box_sizes_at(resize), SMALL)
    why = "small boxes want more, but that would be slow" if wanted > short and long == LONGEST else "no more is needed"
    if wanted > short and long < LONGEST:
        why = "as large as the pictures"
    share = f"{100 * below:.0f} % of the boxes are below {SMALL} px there"
    yield Choice("input.resize", f"{short}/{long}", f"input.resize {short}/{long}: {share}; {why}")


def batch_size(found: Statistics, exp: BaseExp, devices: int) -> Iterable[Choice]:
    wanted = min(BATCH, max(2, 2 ** int(math.log2(max(found.images / 8, 1)))))
    yield Choice("run.batch_size", str(devices * math.ceil(wanted / (devices * exp.run.accumulate))))


def _length(found: Statistics, exp: BaseExp, devices: int) -> Iterable[Choice]:
    batch = exp.run.images_per_step
    usual, epochs = usual_and_fitting(found.images, batch, EPOCHS, MOST_EPOCHS)
    iterations = Epochs(epochs).iterations(found.images, batch)
    why = f"{found.images:,} pictures are shown {usual} times each"
    if epochs > usual:
        why = f"so few pictures are shown until there are {FEWEST_ITERATIONS} iterations, as from scratch it takes them"
    if iterations < FEWEST_ITERATIONS:
        why = f"so few pictures are shown {epochs} times each, and no more"
    reason = f"length {epochs}epochs: {why}; {iterations:,} iterations of {batch_said(exp.run)}"
    yield Choice("length", f"{epochs}epochs", reason)


def batch_said(run: Run) -> str:
    """The images of one iteration, as settings."""
    return f"run.batch_size {run.batch_size}" + (f" and run.accumulate {run.accumulate}" if run.accumulate > 1 else "")


def usual_and_fitting(images: int, batch: int, table: tuple[tuple[float, int], ...], most: int) -> tuple[int, int]:
    """Epochs of so many images by a table like `EPOCHS`, and at least so many, of at most `most`, that a training of
    that batch size has `FEWEST_ITERATIONS`."""
    usual = next(epochs for fewer_than, epochs in table if images < fewer_than)
    return usual, min(max(usual, math.ceil(FEWEST_ITERATIONS * batch / images)), most)


def rhythm(found: Statistics, exp: BaseExp, devices: int) -> Iterable[Choice]:
    """How long the warm-up is, and how often it is evaluated, in proportion to the whole length."""
    iterations = exp.iterations(found.images)
    epochs = iterations * exp.run.images_per_step / found.images
    warmup = min(max(50, min(500, iterations // 20)), iterations // 4)
    every = max(1, round(epochs / EVALUATIONS))
    yield Choice("schedule.warmup", str(warmup))
    yield Choice(
        "run.eval_every",
        str(every),
        f"schedule.warmup {warmup} iterations, evaluated every {every} epoch{'s' * (every > 1)}",
    )


def crowd_nms(found: Statistics, exp: BaseExp, devices: int) -> Iterable[Choice]:
    """More than the usual where a crowd asks for it, as `otadet check` says."""
    usual = exp.postprocess.nms_iou
    if (threshold := nms_iou(found, usual)) > usual:
        reason = f"postprocess.nms_iou {threshold:g}: boxes of one class overlap so much that less would lose some"
        yield Choice("postprocess.nms_iou", f"{threshold:g}", reason)


def crowd_detections(found: Statistics, exp: BaseExp, devices: int) -> Iterable[Choice]:
    """As `crowd_nms`."""
    usual = exp.postprocess.max_detections
    if (number := max_detections(found, usual)) > usual:
        reason = f"postprocess.max_detections {number}: an image has {found.boxes_per_image.max():,} boxes"
        yield Choice("postprocess.max_detections", str(number), reason)


def multiple(pixels: float) -> int:
    """The next multiple of `DIVISOR`."""
    return max(DIVISOR, DIVISOR * math.ceil(pixels / DIVISOR - 1e-6))
