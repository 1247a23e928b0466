"""How an experiment file is loaded, and what of it and a checkpoint together are detectors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from loguru import logger

import otadet
from otadet.engine.checkpoint import load_checkpoint
from otadet.engine.older import NETWORK, check_same_values, flat, values_of
from otadet.engine.restore import changed_fields
from otadet.engine.weights import put_weights
from otadet.errors import UserError, did_you_mean
from otadet.exp.base import BaseExp
from otadet.exp.families import FCOS, YOLOX, RetinaNet
from otadet.exp.fields import all_fields, no_such_field, undeclared_attributes
from otadet.exp.heard import check_called, unheard_settings
from otadet.exp.stored import StoredExp
from otadet.inference.pipeline import Pipeline
from otadet.inference.predictor import Predictor
from otadet.inference.tta import MultiScalePipeline
from otadet.models.detector import Detector, as_detector
from otadet.names import name_list
from otadet.user_modules import impatient, load_module, place_of


def load_exp(path: str | Path) -> BaseExp:
    """The `Exp` of an experiment file. Raises `UserError` for a file that is missing, fails, or holds none.

    path: a file, or the name of an experiment that comes with otadet, such as `quickstart`.
    """
    path = _found(Path(path))
    module = load_module(path)
    try:
        with impatient(path):
            experiment = module.Exp() if hasattr(module, "Exp") else None
        if not isinstance(experiment, BaseExp):
            raise UserError("has no class Exp(BaseExp); see exps/quickstart.py for the shape of such a file")
        for name in undeclared_attributes(experiment):
            raise UserError(_undeclared(name, experiment))
        check_called(experiment, BaseExp)
        experiment.check()
        for message in unheard_settings(experiment, BaseExp).values():
            raise UserError(message)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{path}{place_of(error, path)}: Exp() fails: {type(error).__name__}: {error}") from error
    return experiment


def load_predictor(
    exp: BaseExp,
    checkpoint: str | Path,
    device: torch.device | str = "cpu",
    *,
    state: dict[str, Any] | None = None,
    tta: bool = False,
) -> Predictor:
    """The experiment's detector with a checkpoint's weights (the averaged ones, if any) and class names.

    state: what `load_checkpoint` returned, where it was called already. tta: whether it looks at each image as the
    experiment's `tta` says. Raises `UserError` for a checkpoint that cannot be read or does not fit the experiment.
    """
    pipeline = load_pipeline(exp, checkpoint, state=state, tta=tta)
    return Predictor(pipeline, device=device, options=replace(exp.build_read_options(), upright=True))


def load_pipeline(
    exp: BaseExp,
    checkpoint: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    state: dict[str, Any] | None = None,
    tta: bool = False,
) -> Pipeline:
    """The experiment's pipeline with a checkpoint's weights and class names; all else is as in `load_detector`.

    tta: whether it looks at each image as the experiment's `tta` says: then it is a `MultiScalePipeline`.
    """
    model, state = load_detector(exp, checkpoint, class_names, state=state)
    pipeline = exp.build_pipeline(model, state["class_names"])
    return MultiScalePipeline.of(pipeline, exp.tta) if tta else pipeline


def load_detector(
    exp: BaseExp,
    checkpoint: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    state: dict[str, Any] | None = None,
) -> tuple[Detector, dict[str, Any]]:
    """The experiment's model with a checkpoint's weights, in evaluation mode on the CPU, and the checkpoint's content.

    class_names: those of the data that the model is to be used on; None takes the checkpoint's. state: what
    `load_checkpoint` returned, where it was called already. Raises `UserError` for a checkpoint that cannot be read,
    does not fit the experiment, or was trained for other classes.
    """
    state = load_checkpoint(checkpoint) if state is None else state
    names = state["class_names"]
    if exp.data.num_classes not in (None, len(names)):
        raise UserError(
            f"{checkpoint}: trained for {len(names)} classes ({name_list(names)}), but num_classes is "
            f"{exp.data.num_classes}; leave num_classes unset"
        )
    trained, own = values_of(state), flat(exp.describe())
    check_same_values(checkpoint, NETWORK, trained, own)
    if isinstance(exp, StoredExp):
        check_size(exp, checkpoint, state)
    model = as_detector(without_pretrained(exp).build_model(len(names)))
    put_weights(model, checkpoint, state, class_names)
    looked_at: dict[str, Any] = {
        name: own[name] for name in ("input.mean", "input.std", "input.image_bits") if name in own
    }
    if changes := changed_fields(trained, looked_at):
        logger.warning(f"{checkpoint}: the experiment has other values than the training had: {changes}")
    return model.eval(), state


def check_size(exp: StoredExp, checkpoint: str | Path, state: dict[str, Any]) -> None:
    """Raise `UserError` where a checkpoint describes a network much larger than its weights: it would take memory."""
    with torch.device("meta"):
        described = without_pretrained(exp).build_model(len(state["class_names"])).state_dict()
    needed, there = (sum(tensor.numel() for tensor in of.values()) for of in (described, state["model"]))
    if needed > 2 * there + 10**7:
        raise UserError(f"{checkpoint}: describes a network of {needed:,} weights, but holds {there:,}")


def without_pretrained(exp: BaseExp) -> BaseExp:
    """The experiment with a network from scratch: weights that its training started from are not read or downloaded."""
    exp = copy(exp)
    exp.model = exp.model.without_weights() if hasattr(exp.model, "without_weights") else exp.model
    return exp


def unread(exp: BaseExp) -> BaseExp:
    """The experiment with a network that does not read the weights that it starts from, and trains as if it had."""
    exp = copy(without_start(exp))
    exp.model = exp.model.unread() if hasattr(exp.model, "unread") else exp.model
    return exp


def start_of(exp: BaseExp) -> str | None:
    """The checkpoint that the experiment says its network starts from, if it says one."""
    return exp.model.weights if isinstance(exp.model, FCOS | RetinaNet | YOLOX) else None


def without_start(exp: BaseExp) -> BaseExp:
    """The experiment with a network that does not read it: for whoever knows its classes, and reads it once."""
    return exp if start_of(exp) is None else without_pretrained(exp)


def shipped_folder() -> Path:
    """Where the experiments are that come with otadet: in the package, or beside it in a checkout."""
    package = Path(otadet.__file__).parent
    return next((folder for folder in (package / "exps", package.parent / "exps") if folder.is_dir()), package / "exps")


def _found(path: Path) -> Path:
    """The path itself, or the shipped experiment of that name where there is no such file here."""
    if os.path.isfile(path):
        return path
    folder = shipped_folder()
    shipped = {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.py"))}
    parts = path.with_suffix("").parts if path.suffix == ".py" else path.parts
    name = "/".join(parts[1:] if parts[:1] == ("exps",) else parts)
    if name in shipped:
        return shipped[name]
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder; name the file of an experiment, which ends in .py")
    if path.suffix != ".py" and (len(path.parts) == 1 or not os.path.isdir(path.parent)):
        raise UserError(
            f"{path}: no such experiment file, and none of that name comes with otadet, as {', '.join(shipped)} do"
            f"{did_you_mean(name, shipped)}"
        )
    return path


def _undeclared(name: str, experiment: BaseExp) -> str:
    paths = [field.path for field in all_fields(experiment)]
    if inside := [path for path in paths if path.endswith(f".{name}")]:
        owner = inside[0].rpartition(".")[0]
        return (
            f"{name}: the experiment has no such field of its own, but its part {owner}: it is set there, {inside[0]}"
        )
    return f"{no_such_field(name, paths)} (a new field is declared with its type, as in `{name}: int = 1`)"
