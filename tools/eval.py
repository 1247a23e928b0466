"""Evaluate a checkpoint on the validation set of its experiment: COCO's twelve numbers, and why they are 0 if they are.

python tools/eval.py -f exps/quickstart.py -c runs/quickstart/best.pth --per-class
python tools/eval.py -f exps/ota_fcos_r50.py -c best.pth -b 8 --json predictions.json score_threshold 0.01
"""

from __future__ import annotations

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

import json
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from otadet.cli import experiment_parser, load_experiment, pick_device, run_tool
from otadet.names import name_list

if TYPE_CHECKING:
    from otadet.data.dataset import DetectionDataset


def parse_args() -> Namespace:
    parser = experiment_parser(__doc__)
    parser.add_argument("-c", "--checkpoint", required=True, metavar="CKPT", help="such as runs/quickstart/best.pth")
    parser.add_argument("-b", "--batch", type=int, metavar="N", help="images at once; default: the field batch_size")
    parser.add_argument("--per-class", action="store_true", help="print a table with the numbers of each class")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the predictions in COCO's result format")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="write all numbers and the diagnosis as JSON")
    return parser.parse_intermixed_args()


def main() -> None:
    args = parse_args()
    from otadet.engine.checkpoint import load_checkpoint
    from otadet.evaluation.coco import coco_predictions
    from otadet.evaluation.evaluator import evaluate
    from otadet.evaluation.report import format_result, write_metrics
    from otadet.exp import load_pipeline
    from otadet.files import atomic_write, check_writable
    from otadet.names import names_as_trained

    check_writable(args.json, args.metrics)
    exp = load_experiment(args)
    device = pick_device(args.device)
    # A wrong file is better found before all images are looked at.
    state = load_checkpoint(args.checkpoint)
    exp.class_names = names_as_trained(exp.class_names, state["class_names"])
    dataset = exp.build_val_dataset()
    print(dataset.summary())
    for line in dataset.warnings:
        print(f"warning: {line}", file=sys.stderr)
    pipeline = load_pipeline(exp, args.checkpoint, dataset.class_names, state=state).to(device)
    evaluation = evaluate(
        pipeline,
        dataset,
        batch_size=exp.batch_size if args.batch is None else args.batch,
        workers=exp.workers,
        unreadable=exp.unreadable,
        progress=partial(show_progress, len(dataset)),
    )
    assert evaluation is not None, "one process is the main one"
    result = evaluation.result
    # What took long is on the disk before anything else can go wrong.
    if args.json:
        found = coco_predictions(evaluation.detections, dataset.source_ids)
        with atomic_write(args.json, "w") as file:
            json.dump(found, file)
        if note := free_ids(dataset, {entry["category_id"] for entry in found}):
            print(f"note: {note}", file=sys.stderr)
    if args.metrics:
        write_metrics(args.metrics, result)
    print(f"\n{format_result(result, per_class=args.per_class)}")
    for what, path in (("predictions", args.json), ("metrics", args.metrics)):
        if path:
            print(f"\n{what}: {path}")


def free_ids(dataset: DetectionDataset, predicted: set[int]) -> str:
    """What the ids of predicted classes stand for that the data lack; "" where there is none.

    predicted: category ids.
    """
    free = predicted - set(dataset.annotations.classes.ids)
    names = zip(dataset.source_ids, dataset.class_names, strict=True)
    listed = name_list([f"{number} for {name}" for number, name in names if number in free])
    said = f"{dataset.source} lacks classes that are predicted; their category ids are free ones: {listed}"
    return said if free else ""


def show_progress(images: int, done: int) -> None:
    """A line in the terminal that counts the images."""
    if sys.stderr.isatty():
        end = "\n" if done == images else ""
        print(f"\r{done}/{images} images", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_tool(main)
