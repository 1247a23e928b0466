"""An ONNX file where a checkpoint is expected: what an evaluation or a prediction with it is made of."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from otadet.apps.arguments import note_unused, paths_named
from otadet.engine.cores import limit_threads, usable_cores
from otadet.errors import UserError
from otadet.exp import BaseExp, load_exp
from otadet.export.onnx_pipeline import OnnxPipeline
from otadet.export.session import providers_for

_IN_THE_FILE = ("input", "model")


def is_onnx(path: str | Path) -> bool:
    """By its name."""
    return Path(path).suffix.lower() == ".onnx"


def open_onnx(args: Namespace) -> tuple[BaseExp, OnnxPipeline]:
    """The file of -c, and the experiment of -f, or one for what may be set, with the file's input and postprocessing.

    Raises `UserError` for a file that cannot be run, and for options that it cannot meet.
    """
    if args.tta:
        raise UserError(f"--tta: {args.checkpoint} is made for its own size of images; give the checkpoint")
    exp = BaseExp() if args.exp is None else load_exp(args.exp)
    if args.exp is None:
        exp.run = replace(exp.run, workers=min(exp.run.workers, usable_cores()))
    limit_threads()
    pipeline = OnnxPipeline(args.checkpoint, providers_for(args.device))
    exp.input, exp.postprocess = pipeline.metadata.input_spec, pipeline.metadata.postprocess
    return exp, pipeline


def set_up(
    exp: BaseExp, pipeline: OnnxPipeline, args: Namespace, overrides: Sequence[str], needed: Sequence[str]
) -> OnnxPipeline:
    """Apply the pairs to what `open_onnx` returned; of the postprocessing that may be set which the graph does not do.

    needed: parts of an experiment that count beside the file. Raises `UserError` where the data count and are not
    named, and for settings that the file contradicts.
    """
    named = paths_named(exp, overrides)
    for path in named:
        if path.partition(".")[0] in _IN_THE_FILE:
            raise UserError(f"{path}: is what {args.checkpoint} was exported with; set it in otadet export")
    if "data" in needed and args.exp is None and not any(path.partition(".")[0] == "data" for path in named):
        raise UserError(f"{args.checkpoint}: does not say which data to use it on; name them: data FOLDER, or -f EXP")
    exp.override(overrides)
    note_unused(exp, overrides, needed)
    return pipeline.with_postprocess(exp.postprocess)


def check_classes(path: object, trained: Sequence[str], given: Sequence[str]) -> None:
    """Raise `UserError` unless the data have exactly the classes of the file, in its order."""
    from otadet.engine.weights import check_class_names

    check_class_names(str(path), {"class_names": list(trained)}, given)
