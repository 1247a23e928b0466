"""Draw what a checkpoint, or an ONNX file that otadet exported, detects.

otadet predict -c runs/quickstart/best.pth --path photo.jpg
otadet predict -c best.pth --path photos --output drawn --save-json found.json
otadet predict -c best.pth --path photos --tta
otadet predict -f exps/mine.py -c best.pth --path a.jpg b.jpg nms_iou 0.5
otadet predict -c best.onnx --path photos

Photos are turned upright as their EXIF orientation says; boxes are in pixels of the upright picture. Of several images
those that cannot be read are named and left out, and the exit status is then 1. Without -f the experiment is the one
that the checkpoint describes. An ONNX file has its own input; what its graph does not do of the postprocessing may be
set.
"""

from __future__ import annotations

import json
import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otadet.apps.arguments import (
    add_tta,
    check_tta,
    experiment_parser,
    load_trained,
    note_unused,
    parse,
    pick_device,
    say,
)
from otadet.apps.outputs import check_outputs
from otadet.apps.pictures import check_output_files, find_images, output_names, split_fields, warn_of_ranges
from otadet.command_line import as_name, as_path
from otadet.data.image_file import shown
from otadet.names import one_agrees

if TYPE_CHECKING:
    import numpy as np

    from otadet.export.onnx_pipeline import OnnxPipeline
    from otadet.inference.predictor import ImagePredictor, Predictor
    from otadet.structures import Detections

SOME_SKIPPED = 1
"""Exit status where images were drawn and others left out."""
DEFAULT_CONF = 0.5
"""What is drawn is for the eye, which the many weak detections that AP counts would only distract."""


_DEFAULT_CONF = ("postprocess.score_threshold", str(DEFAULT_CONF))
"""First of the pairs, so that what is set by name has the last word."""
NEEDED = ("input", "model", "postprocess", "data.max_pixels", "data.num_classes")
"""Parts of the experiment that detections are made by."""


def parser() -> ArgumentParser:
    made = experiment_parser(__doc__)
    made.add_argument(
        "-c",
        "--checkpoint",
        type=as_name,
        required=True,
        metavar="CKPT",
        help="such as best.pth, an ONNX file, or a published name",
    )
    made.add_argument(
        "--path",
        nargs="+",
        type=as_name,
        required=True,
        metavar="PATH",
        help="images, and folders (not their subfolders)",
    )
    made.add_argument("--conf", type=fraction, metavar="SCORE", help=f"least score; default: {DEFAULT_CONF}")
    made.add_argument("--nms", type=fraction, metavar="IOU", help="IoU of NMS; default: postprocess.nms_iou")
    add_tta(made)
    made.add_argument("--json", action="store_true", help="print the detections of all images as JSON")
    made.add_argument("--save-json", type=as_path, metavar="FILE", help="write what --json prints")
    made.add_argument(
        "--output", type=as_path, default=Path("runs/demo"), metavar="DIR", help="for drawn images; default: runs/demo"
    )
    return made


def fraction(text: str) -> float:
    """A number in 0-1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(parser(), argv)
    from otadet.apps.onnx_file import is_onnx
    from otadet.errors import UserError
    from otadet.exp.pairs import incomplete

    if len(args.overrides) % 2:
        raise UserError(incomplete(args.overrides))
    # Before the file is read: the words after --path are only known then.
    check_outputs({"--save-json": args.save_json}, [args.checkpoint, args.exp])
    words, build = _of_onnx(args) if is_onnx(args.checkpoint) else _of_checkpoint(args)
    paths = [Path(word) for word in words]
    inputs = find_images(paths)
    check_output_files(args, inputs)
    predictor = build()
    if args.tta:
        say(str(predictor.pipeline), args.json)
    warn_of_ranges(inputs, predictor)

    records: list[dict[str, Any]] = []
    try:
        for record in drawn(predictor, inputs, args, only_one=len(paths) == 1 and not os.path.isdir(paths[0])):
            records.append(record)
    finally:
        # Whatever ended the loop, what was found is kept.
        if records and args.save_json:
            save_json(args.save_json, records)
    if args.json:
        print(as_text(records))
    skipped = len(inputs) - len(records)
    unreadable = f", {skipped} unreadable skipped" if skipped else ""
    say(f"{one_agrees(f'{len(records)} images')} drawn into {shown(args.output)}{unreadable}", args.json)
    if args.save_json:
        say(f"detections: {shown(args.save_json)}", args.json)
    if skipped:
        sys.exit(SOME_SKIPPED)


def _of_checkpoint(args: Namespace) -> tuple[list[str], Callable[[], Predictor]]:
    """The words after --path that name no setting, and what builds the predictor of a checkpoint."""
    from otadet.exp.fields import names_of_fields
    from otadet.exp.load import load_predictor

    exp, state = load_trained(args, NEEDED)
    words, trailing = split_fields(args.path, names_of_fields(exp))
    check_tta(exp, args, trailing)
    note_unused(exp, trailing, [*NEEDED, "tta"])
    exp.override([*_DEFAULT_CONF, *args.overrides, *trailing, *_flags(args)])
    device = pick_device(args.device)
    return words, lambda: load_predictor(exp, args.checkpoint, device, state=state, tta=args.tta)


def _of_onnx(args: Namespace) -> tuple[list[str], Callable[[], ImagePredictor[OnnxPipeline]]]:
    """`_of_checkpoint` of an ONNX file. What is weak stays where its graph alone could have left it out."""
    from dataclasses import replace

    from otadet.apps.onnx_file import open_onnx, set_up
    from otadet.exp.fields import names_of_fields
    from otadet.inference.predictor import ImagePredictor

    exp, file = open_onnx(args)
    words, trailing = split_fields(args.path, names_of_fields(exp))
    own = file.metadata.postprocess
    is_fixed = file.metadata.nms and (own.rank_by == "class" or own.score_threshold > DEFAULT_CONF)
    given = [*args.overrides, *trailing, *_flags(args)]
    file = set_up(exp, file, args, [*([] if is_fixed else _DEFAULT_CONF), *given], ("postprocess", "data.max_pixels"))
    return words, lambda: ImagePredictor(file, replace(exp.build_read_options(), upright=True), batch_size=1)


def _flags(args: Namespace) -> list[str]:
    """The options that are settings, as pairs."""
    conf = [] if args.conf is None else ["postprocess.score_threshold", str(args.conf)]
    return conf + ([] if args.nms is None else ["postprocess.nms_iou", str(args.nms)])


def drawn(
    predictor: ImagePredictor, inputs: list[Path], args: Namespace, *, only_one: bool
) -> Iterator[dict[str, Any]]:
    """Detect and draw, one image after the other. Yields the entry of each in the JSON file.

    Unless `only_one` was asked for, an image that cannot be read or drawn is named and left out. Raises `UserError`
    where none is left, or the disk is full.
    """
    from otadet.data.images import read_image
    from otadet.errors import UserError
    from otadet.files import is_disk_error

    skipped = 0
    for path, name in zip(inputs, output_names(inputs), strict=True):
        try:
            image = read_image(path, predictor.options)
            record = detect(predictor, path, image, args.output / name, args.json)
        except UserError as error:
            if only_one or is_disk_error(error):
                raise
            print(f"skipped: {error}", file=sys.stderr)
            skipped += 1
        else:
            yield record
    if skipped == len(inputs):
        raise UserError(f"--path: none of its {len(inputs)} images can be read and drawn")


def detect(
    predictor: ImagePredictor, path: Path, image: np.ndarray, out: Path, as_json: bool = False
) -> dict[str, Any]:
    """Detect, draw into the file `out`, print a line; returns the image's entry of the JSON file."""
    from otadet.visualize.canvas import write_image
    from otadet.visualize.detections import draw_detections

    found = predictor(image)
    write_image(out, draw_detections(image, found, predictor.class_names))
    counts = Counter(predictor.class_names[label] for label in found.labels.tolist())
    say(f"{shown(path)}: {', '.join(f'{count} {name}' for name, count in counts.most_common()) or 'nothing'}", as_json)
    return {
        "file": str(path),
        "width": image.shape[1],
        "height": image.shape[0],
        "detections": as_plain(found, predictor.class_names),
    }


def as_plain(found: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Label, class name, score (0-1) and box (xyxy, pixels of the upright picture) of each detection."""
    return [
        {
            "label": label,
            "class_name": class_names[label],
            "score": round(score, 6),
            "box": [round(side, 3) for side in box],
        }
        for label, score, box in zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    ]


def save_json(path: Path, records: list[dict[str, Any]]) -> None:
    """Write the file whole, or not at all. Raises `OutputError`."""
    from otadet.files import atomic_write

    with atomic_write(path, "w") as file:
        file.write(f"{as_text(records)}\n")


def as_text(records: list[dict[str, Any]]) -> str:
    """As JSON. Bytes of a file name that are no UTF-8 are surrogates in Python; JSON has them as escapes."""
    text = json.dumps(records, indent=1, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
