"""The trainings of a comparison: one experiment per rule and seed, alike in all else, and what tells it from others."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from benchmarks.trainbench.hardware import device_name
from otadet import __version__
from otadet.apps.arguments import paths_named
from otadet.apps.compose import build_datasets
from otadet.assigners import Assigner
from otadet.data.dataset import DetectionDataset
from otadet.engine.checkpoint import weights_of
from otadet.engine.cores import usable_cores
from otadet.errors import UserError
from otadet.exp import BaseExp, load_exp
from otadet.exp.fine_tune import fine_tune_exp
from otadet.names import printable

SCRATCH = "ota_csp_nano"
"""The experiment without a checkpoint."""
RECIPE = "input.resize 416x416 run.batch_size 16 length 20epochs run.eval_every 0 run.save_every 200"
"""What is set of an experiment that no file says, beside what fine-tuning chooses for the data."""
SCRATCH_RECIPE = "optimizer.lr 0.0025"
"""YOLOX's 0.01 is for 64 images."""
MOST_WORKERS = 14
OWN_LOSS = {"dsla": "loss.class_loss qfl"}
"""Rule -> what it is published with, whatever the network. TAL's soft targets go with cross entropy."""
ON_YOLOX = {
    "ota": "assigner.cost yolox assigner.top_q 10",
    "simota": "assigner.cost yolox assigner.top_q 10 assigner.radius 1.5 assigner.shared true",
}
"""Rule -> its settings for a network with an objectness: those of exps/ota_csp_nano.py, and YOLOX's own."""


@dataclass(frozen=True)
class Entry:
    """A training of the comparison."""

    rule: str
    seed: int
    exp: BaseExp
    """As it is trained, which fits it to the data once more."""
    fitted: BaseExp
    """As it is once it is fitted to the data."""
    id: str


@dataclass(frozen=True)
class Contest:
    """All trainings that are to be compared."""

    entries: tuple[Entry, ...]
    yardstick: Assigner
    """OTA, by whose time that of every rule is measured."""
    train_set: DetectionDataset
    judged_on: DetectionDataset
    id: str


def contest_of(args: Namespace, state: dict[str, Any] | None, device: torch.device) -> Contest:
    """The comparison that the command line asks for, with its data read.

    state: what `load_checkpoint` returned of the checkpoint to start from. Raises `UserError` for all that is wrong in
    it: before anything is trained.
    """
    exps = {(rule, seed): experiment(args, state, device, rule, seed) for seed in args.seeds for rule in args.rules}
    first = next(iter(exps.values()))
    train_set, val_set = build_datasets(first, [] if state is None else state["class_names"])
    judged_on = {"train": lambda: train_set, "val": lambda: val_set}.get(
        args.split, lambda: first.build_test_dataset(train_set.class_names)
    )()
    common = _common(fitted(experiment(args, state, device, None, 0), train_set), (train_set, val_set, judged_on))
    common |= {
        "start": None if state is None else digest(*_weights(state)),
        "judged": [args.split, args.images],
        "device": device_name(device),
        "versions": [__version__, torch.__version__],
    }
    contest = digest(common)
    entries = {}
    for (rule, seed), exp in exps.items():
        as_trained = fitted(exp, train_set)
        key = digest(contest, seed, _without_data(as_trained))
        # Two ways to write the same are one training.
        entries.setdefault(key, Entry(rule, seed, exp, as_trained, key))
    yardstick = experiment(args, state, device, "ota", 0).assigner
    assert yardstick is not None
    return Contest(tuple(entries.values()), yardstick, train_set, judged_on, contest)


def experiment(
    args: Namespace, state: dict[str, Any] | None, device: torch.device, rule: str | None, seed: int
) -> BaseExp:
    """The experiment of -f, or the checkpoint's own network fine-tuned, or one from scratch, with a rule and a seed."""
    if args.exp is not None:
        exp, recipe = load_exp(args.exp), ""
    elif state is not None:
        exp, recipe = fine_tune_exp(args.checkpoint, state), RECIPE
    else:
        exp, recipe = load_exp(SCRATCH), f"{RECIPE} {SCRATCH_RECIPE}"
    named = paths_named(exp, args.overrides)
    for path in named:
        if path.split(".")[0] == "assigner":
            raise UserError(f"{path}: is what is compared; give it with a rule, as in --rules 'ota assigner.radius 2'")
        if path == "run.seed":
            raise UserError("run.seed: is set by --seeds")
    if args.exp is None and "data" not in named:
        raise UserError("which data? name a folder of annotated pictures: data FOLDER")
    # Two threads of a core decode more than one.
    workers = min(MOST_WORKERS, max(1, 2 * usable_cores() - 2)) if device.type == "cuda" else 0
    exp.override(["run.workers", str(workers), *recipe.split(), *args.overrides, "run.seed", str(seed)])
    if exp.run.auto_batch:
        raise UserError("batch_size auto: would be another one on another machine; set a number")
    if rule is not None:
        exp.override(settings_of(rule, exp))
    return exp


def settings_of(rule: str, exp: BaseExp) -> list[str]:
    """What a rule sets: itself, what it is published with, and what stands behind its word."""
    try:
        word, *own = shlex.split(rule)
    except ValueError as error:
        raise UserError(f"--rules {printable(rule)!r}: {error}") from error
    for path in paths_named(exp, ["assigner", word, *own]):
        if path.split(".")[0] not in ("assigner", "loss"):
            raise UserError(
                f"--rules {rule}: {path} is no setting of a rule; what is set beside --rules is set for all"
            )
    is_yolox = getattr(exp.model, "quality", None) == "objectness"
    usual = f"{OWN_LOSS.get(word, '')} {ON_YOLOX.get(word, '') if is_yolox else ''}".split()
    return ["assigner", word, *usual, *own]


def fitted(exp: BaseExp, train_set: DetectionDataset) -> BaseExp:
    """The experiment as it trains on these data."""
    return exp.for_data(train_set, 1)[0]


def _common(exp: BaseExp, datasets: Sequence[DetectionDataset]) -> dict[str, Any]:
    """What the rules have in common, as plain data; of the data sets what they hold, not where they lie."""
    parts = _without_data(exp)
    parts.pop("assigner")
    how = {name: value for name, value in exp.describe()["data"].items() if name not in ("folder", "part")}
    return {"parts": parts, "data": [how, *(digest(*_content(one)) for one in datasets)]}


def _without_data(exp: BaseExp) -> dict[str, Any]:
    parts = exp.describe()
    parts.pop("data")
    parts["run"] = {name: value for name, value in parts["run"].items() if name != "seed"}
    return parts


def _content(dataset: DetectionDataset) -> list[Any]:
    annotations = dataset.annotations
    arrays = (annotations.boxes, annotations.image_rows, annotations.ignored, dataset.labels, dataset.sizes)
    return [list(dataset.class_names), list(annotations.file_names), *arrays]


def _weights(state: Mapping[str, Any]) -> list[Any]:
    tensors = weights_of(state)
    return [list(tensors), *(tensor.detach().cpu().contiguous() for tensor in tensors.values())]


def digest(*values: Any) -> str:
    """12 characters that stand for the values: arrays, tensors, and plain data."""
    found = sha256()
    for value in values:
        if isinstance(value, torch.Tensor):
            value = value.view(torch.uint8).numpy() if value.dim() else value.numpy()
        if isinstance(value, np.ndarray):
            found.update(f"{value.dtype} {value.shape}".encode())
            found.update(np.ascontiguousarray(value).tobytes())
        else:
            found.update(json.dumps(value, sort_keys=True).encode())
    return found.hexdigest()[:12]
