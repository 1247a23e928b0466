"""Evaluate a checkpoint on a split of its experiment's data: the numbers, and why they are 0 if they are.

COCO's twelve, or miss rate, AP, recall and Jaccard index where the data are CrowdHuman's.

otadet eval -c runs/quickstart/best.pth --per-class
otadet eval -c runs/my_data/best.pth --split test
otadet eval -c runs/my_data/best.pth --tta tta.scales 416,640,832
otadet eval -f exps/ota_fcos_r50.py -c best.pth -b 8 --save-json predictions.json score_threshold 0.01
otadet eval -c runs/my_data/best.onnx data datasets/mine

A folder without a validation split is parted as a training parts it; weights that were converted rather than trained
are measured on all of its images.

Without -f the experiment is the one that the checkpoint describes. An ONNX file that otadet exported is measured in the
same way, with its own input and postprocessing; it says nothing of data, which are named.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otadet.apps.arguments import (
    add_tta,
    check_counts,
    counter,
    experiment_parser,
    load_trained,
    parse,
    paths_named,
    pick_device,
    say,
)
from otadet.command_line import as_name, as_path
from otadet.errors import UserError
from otadet.evaluation.judge import AUTO, JUDGES
from otadet.names import name_list, one_agrees

if TYPE_CHECKING:
    from otadet.data.dataset import DetectionDataset
    from otadet.evaluation.result import Result
    from otadet.exp import BaseExp
    from otadet.inference.pipeline import PixelDetector
    from otadet.structures import Detections

SPLITS = ("train", "val", "test")
NEEDED = ("data", "input", "model", "postprocess", "run")
"""Parts of the experiment that an evaluation is made of."""


def parser() -> ArgumentParser:
    made = experiment_parser(__doc__)
    made.add_argument(
        "-c",
        "--checkpoint",
        type=as_name,
        required=True,
        metavar="CKPT",
        help="such as runs/quickstart/best.pth, an ONNX file, or a published name",
    )
    made.add_argument(
        "--split", choices=SPLITS, default="val", help="what to measure on; an error where the data have none (val)"
    )
    made.add_argument(
        "-b",
        "--batch",
        type=int,
        metavar="N",
        help="images loaded at once; default: run.batch_size; by --tta 1",
    )
    add_tta(made)
    made.add_argument("--per-class", action="store_true", help="print a table with the numbers of each class")
    made.add_argument(
        "--protocol", choices=("coco", "crowdhuman"), help="whose evaluation; default: the one that the data have"
    )
    made.add_argument("--judge", default=AUTO, choices=JUDGES, help="what computes COCO's numbers; auto: the fastest")
    made.add_argument("--json", action="store_true", help="print the numbers and the diagnosis as JSON")
    made.add_argument("--save-json", type=as_path, metavar="FILE", help="write the predictions in COCO's result format")
    made.add_argument("--metrics", type=as_path, metavar="FILE", help="write what --json prints")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(parser(), argv)
    from otadet.apps.outputs import check_outputs
    from otadet.apps.reading import images_to_evaluate
    from otadet.evaluation.evaluator import evaluate

    check_counts({"-b": args.batch})
    outputs = {"--save-json": args.save_json, "--metrics": args.metrics}
    check_outputs(outputs, [args.checkpoint, args.exp])
    subject = _subject(args)
    dataset, run = _dataset(args, subject), subject.exp.run
    check_outputs(outputs, [dataset.source])
    pipeline = subject.pipeline_for(dataset.class_names)
    if args.tta:
        say(str(pipeline), args.json)
    evaluation = evaluate(
        pipeline,
        images_to_evaluate(run, dataset, pipeline.transform),
        # Images as they are take more memory than those that are resized.
        batch_size=args.batch if args.batch is not None else 1 if args.tta else run.batch_size,
        workers=run.workers,
        unreadable=subject.exp.data.unreadable,
        protocol=args.protocol,
        judge=args.judge,
        progress=counter(f"{args.split} split", len(dataset)),
    )
    if evaluation is None:
        raise UserError("this is not the main process; evaluate in one process alone")
    # What took long is on the disk before anything else can go wrong.
    if args.save_json:
        save_predictions(args.save_json, evaluation.detections, dataset)
    measured_on = {"split": args.split, "file": str(dataset.source), "images": len(evaluation.detections)}
    report(args, evaluation.result, measured_on | ({"tta": str(pipeline)} if args.tta else {}))


@dataclass(frozen=True)
class _Subject:
    """What is evaluated, and the experiment whose data it is measured on."""

    exp: BaseExp
    class_names: Sequence[str]
    """Of what is evaluated, by label."""
    from_training: bool
    """Whether otadet trained it, so that some of the images may have been trained on; False where it was converted."""
    pipeline_for: Callable[[Sequence[str]], PixelDetector]
    """Classes of the data, by label -> the detector. Raises `UserError` where its own are others."""


def _subject(args: Namespace) -> _Subject:
    """That of -c: an ONNX file or a checkpoint."""
    from otadet.apps.onnx_file import check_classes, is_onnx, open_onnx, set_up
    from otadet.engine.content import is_of_training
    from otadet.exp import load_pipeline

    if is_onnx(args.checkpoint):
        exp, file = open_onnx(args)
        file = set_up(exp, file, args, args.overrides, ("data", "postprocess", "run"))

        def checked(names: Sequence[str]) -> PixelDetector:
            check_classes(args.checkpoint, file.class_names, names)
            return file

        return _Subject(exp, file.class_names, file.metadata.from_training, checked)
    exp, state = load_trained(args, NEEDED)
    device = pick_device(args.device)

    def loaded(names: Sequence[str]) -> PixelDetector:
        return load_pipeline(exp, args.checkpoint, names, state=state, tta=args.tta).to(device)

    return _Subject(exp, state["class_names"], is_of_training(state), loaded)


def _dataset(args: Namespace, subject: _Subject) -> DetectionDataset:
    """The split to measure on, and what there is to say of it."""
    from otadet.names import names_as_trained

    exp = subject.exp
    if args.split == "val" and not subject.from_training and not _sets_the_split(exp, args.overrides):
        exp.data = exp.data.untrained()
    build = {"train": exp.build_train_dataset, "val": exp.build_val_dataset, "test": exp.build_test_dataset}[args.split]
    dataset = build(names_as_trained(exp.data.class_names, subject.class_names))
    for line in (*dataset.notes, f"{args.split} split, {dataset.source}", dataset.summary()):
        say(line, args.json)
    for line in dataset.warnings:
        print(f"warning: {line}", file=sys.stderr)
    return dataset


def _sets_the_split(exp: BaseExp, overrides: Sequence[str]) -> bool:
    """Whether the pairs say how a validation split is made."""
    return any(path.rpartition(".")[2] in ("val_share", "split_seed", "group") for path in paths_named(exp, overrides))


def save_predictions(path: Path, detections: Mapping[int, Detections], dataset: DetectionDataset) -> None:
    """Write them in COCO's result format. detections: by image id."""
    from otadet.evaluation.coco import coco_predictions
    from otadet.files import atomic_write

    found = coco_predictions(detections, dataset.source_ids)
    with atomic_write(path, "w") as file:
        json.dump(found, file)
    if note := free_ids(dataset, {entry["category_id"] for entry in found}):
        print(f"note: {note}", file=sys.stderr)


def report(args: Namespace, result: Result, measured_on: dict[str, Any]) -> None:
    """Print the numbers, and write what is asked for. measured_on: what `as_json` takes."""
    from otadet.evaluation.report import as_json, format_result, write_metrics

    if args.metrics:
        write_metrics(args.metrics, result, measured_on)
    if args.json:
        print(as_json(result, measured_on))
    else:
        how, number = ", --tta" if args.tta else "", one_agrees(f"{measured_on['images']} images")
        print(f"\n{args.split} split, {number} of {measured_on['file']}{how}:")
        print(format_result(result, per_class=args.per_class))
    for what, path in (("predictions", args.save_json), ("metrics", args.metrics)):
        if path:
            say(f"\n{what}: {path}", args.json)


def free_ids(dataset: DetectionDataset, predicted: set[int]) -> str:
    """What the ids of predicted classes stand for that the data lack; "" where there is none.

    predicted: category ids.
    """
    free = predicted - set(dataset.annotations.classes.ids)
    names = zip(dataset.source_ids, dataset.class_names, strict=True)
    listed = name_list([f"{number} for {name}" for number, name in names if number in free])
    said = f"{dataset.source} lacks classes that are predicted; their category ids are free ones: {listed}"
    return said if free else ""
