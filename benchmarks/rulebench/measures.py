"""What is measured of a finished training."""

from __future__ import annotations

import csv
import shlex
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.rulebench.contest import Contest, Entry
from benchmarks.rulebench.rows import Row
from benchmarks.trainbench.hardware import device_name
from benchmarks.trainbench.turns import Pair, in_turn
from otadet import __version__
from otadet.analysis.ambiguity import AmbiguityCount, EvenlySpaced, SizedRule, count_ambiguous
from otadet.assigners import Assigner
from otadet.data.dataset import DetectionDataset
from otadet.errors import UserError
from otadet.evaluation.evaluator import evaluate, pipeline_loader
from otadet.exp import BaseExp, load_pipeline
from otadet.inference.pipeline import Pipeline
from otadet.names import printable
from otadet.structures import Anchors, Assignment, GroundTruth, Predictions

BATCHES, TURNS = 4, 7
"""On which a rule is timed, and how often."""


def measured(entry: Entry, contest: Contest, args: Namespace, device: torch.device, folder: Path) -> Row:
    """The row of a training that has ended in `folder`; args: of the command line."""
    exp, rule = entry.fitted, entry.fitted.build_assigner()
    assert rule is not None  # as `settings_of` sets one
    pipeline = load_pipeline(exp, folder / "last.pth", contest.train_set.class_names).to(device)
    workers, unreadable = exp.run.workers, exp.data.unreadable
    found = evaluate(
        pipeline,
        contest.judged_on,
        batch_size=exp.run.batch_size,
        workers=workers,
        unreadable=unreadable,
        protocol="coco",
    )
    assert found is not None  # this is the main process
    count = ambiguity_of(exp, pipeline, rule, contest.train_set, args.images)
    steps = steps_of(folder / "metrics.csv")
    problems = problems_of(exp, pipeline, contest.train_set)
    turns = timed(rule, contest.yardstick, problems, device)
    return Row(
        id=entry.id,
        contest=contest.id,
        rule=printable(entry.rule),
        seed=entry.seed,
        AP=round(found.result.stats["AP"], 5),
        AP50=round(found.result.stats["AP50"], 5),
        ambiguous=round(count.per_image(count.ambiguous), 4),
        contested=round(count.per_image(count.contested), 4),
        positives=round(count.per_image(count.positives), 3),
        step_seconds=round(steps.compute, 6),
        data_seconds=round(steps.data, 6),
        train_seconds=round(steps.total, 2),
        assign_ms=round(1000 * median(turns.ours) / len(problems), 4),
        assign_ratio=round(turns.ratio, 4),
        iterations=exp.iterations(len(contest.train_set)),
        batch=exp.run.images_per_step,
        split=args.split,
        images=len(found.detections),
        start=_start(exp, args),
        settings=printable(shlex.join(without_data(args.overrides))),
        device=device_name(device),
        otadet=__version__,
        torch=torch.__version__,
    )


def _start(exp: BaseExp, args: Namespace) -> str:
    """The checkpoint that it began with, and the experiment where one was named."""
    weights = "scratch" if args.checkpoint is None else printable(Path(args.checkpoint).name)
    return weights if args.exp is None else f"{weights} by {printable(exp.name)}"


def without_data(settings: list[str]) -> list[str]:
    """The pairs but for that of the folder, which is another one on another machine."""
    pairs = zip(settings[::2], settings[1::2], strict=True)
    return [word for name, value in pairs if name != "data" for word in (name, value)]


@dataclass(frozen=True)
class Steps:
    """What the steps of a training took, in seconds."""

    compute: float
    """Median per step, without the wait for its data."""
    data: float
    """Median wait per step."""
    total: float


def steps_of(metrics: Path) -> Steps:
    """From the metrics.csv of a training; its first row, in which things warm up, counts in the total alone."""
    with open(metrics, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("compute_ms")]
    if not rows:
        raise UserError(f"{metrics}: has no times")
    laps = [(int(row["iteration"]), float(row["data_ms"]) / 1000, float(row["compute_ms"]) / 1000) for row in rows]
    total, before = 0.0, 0
    for iteration, data, compute in laps:
        total += (iteration - before) * (data + compute)
        before = iteration
    warm = laps[1:] or laps
    return Steps(median(lap[2] for lap in warm), median(lap[1] for lap in warm), total)


def ambiguity_of(
    exp: BaseExp, pipeline: Pipeline, rule: Assigner, dataset: DetectionDataset, images: int
) -> AmbiguityCount:
    """Of the trained network, on `images` of the data, from all over them."""
    loader = pipeline_loader(
        pipeline,
        EvenlySpaced(dataset, images),
        batch_size=exp.run.batch_size,
        workers=exp.run.workers,
        unreadable=exp.data.unreadable,
    )
    (count,) = count_ambiguous(pipeline, loader, [SizedRule("", None, rule)])
    return count


Problem = tuple[Predictions, Anchors, list[GroundTruth]]


@torch.no_grad()
def problems_of(exp: BaseExp, pipeline: Pipeline, dataset: DetectionDataset) -> list[Problem]:
    """A few batches of the data as a rule sees them, with what the trained network predicts."""
    some = EvenlySpaced(dataset, BATCHES * exp.run.batch_size)
    normalize = pipeline.input.pixel_norm().to(pipeline.device)
    pipeline.model.eval()
    batches = pipeline_loader(pipeline, some, batch_size=exp.run.batch_size, unreadable=exp.data.unreadable)
    found = []
    for batch in batches:
        batch = batch.to(pipeline.device)
        found.append((*pipeline.model(normalize(batch.images)), list(batch.truths)))
    return found


def timed(rule: Assigner, yardstick: Assigner, problems: list[Problem], device: torch.device) -> Pair:
    """Seconds of all problems by each, by turns."""

    def all_by(one: Assigner) -> list[Assignment]:
        return [one(*problem) for problem in problems]

    for one in (rule, yardstick):
        all_by(one)
    return in_turn(lambda: all_by(rule), lambda: all_by(yardstick), device, TURNS)
