"""Draw what a checkpoint detects.

python tools/demo.py image -f exps/quickstart.py -c runs/quickstart/best.pth --path photo.jpg
python tools/demo.py image -f exps/quickstart.py -c best.pth --path photos --output drawn --save-json found.json
"""

from __future__ import annotations

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otadet.cli import add_experiment_arguments, load_experiment, pick_device, run

if TYPE_CHECKING:
    import numpy as np

    from otadet.predictor import Predictor
    from otadet.structures import Detections

DRAWN_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Endings that a drawn image keeps; any other gets .png appended."""
DEFAULT_CONF = 0.5
"""What is drawn is for the eye, which the many weak detections that AP counts would only distract."""


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    image = commands.add_parser("image", help="a photo, or all photos of a folder")
    add_experiment_arguments(image)
    image.add_argument("-c", "--checkpoint", required=True, metavar="CKPT", help="weights and class names")
    image.add_argument(
        "--path", type=Path, required=True, metavar="FILE_OR_DIR", help="an image, or a folder (not its subfolders)"
    )
    image.add_argument("--conf", type=fraction, metavar="SCORE", help=f"least score; default: {DEFAULT_CONF}")
    image.add_argument("--nms", type=fraction, metavar="IOU", help="IoU of NMS; default: the field nms_iou")
    image.add_argument("--save-json", type=Path, metavar="FILE", help="write the detections of all images")
    image.add_argument(
        "--output", type=Path, default=Path("runs/demo"), metavar="DIR", help="for drawn images; default: runs/demo"
    )
    return parser.parse_args()


def fraction(text: str) -> float:
    """A number in 0-1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def main() -> None:
    args = parse_args()
    from otadet.data.images import read_image
    from otadet.errors import UserError
    from otadet.predictor import Predictor

    inputs = find_images(args.path)
    check_outputs(args, inputs)
    exp = load_experiment(args)
    if args.conf is not None or "score_threshold" not in args.overrides[::2]:
        exp.score_threshold = DEFAULT_CONF if args.conf is None else args.conf
    if args.nms is not None:
        exp.nms_iou = args.nms
    predictor = Predictor.from_experiment(exp, args.checkpoint, pick_device(args.device))

    records = []
    for path in inputs:
        try:
            image = read_image(path)
        except UserError as error:
            if args.path.is_file():
                raise
            print(f"skipped: {error}", file=sys.stderr)
            continue
        records.append(detect(predictor, path, image, args.output))
    if not records:
        raise UserError(f"{args.path}: none of its {len(inputs)} images can be read")
    skipped = len(inputs) - len(records)
    print(f"{len(records)} images drawn into {args.output}{f', {skipped} unreadable skipped' if skipped else ''}")
    if args.save_json:
        save_json(args.save_json, records)
        print(f"detections: {args.save_json}")


def find_images(path: Path) -> list[Path]:
    """The file itself, or the images of a folder by name, subfolders left out."""
    from otadet.data.images import IMAGE_SUFFIXES
    from otadet.errors import UserError

    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"--path {path}: no such file or folder")
    images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not images:
        raise UserError(
            f"--path {path}: the folder itself holds no image (a file ending in {' '.join(IMAGE_SUFFIXES)})"
        )
    return images


def check_outputs(args: Namespace, inputs: list[Path]) -> None:
    """Raise `UserError` where an output would take the place of an input."""
    from otadet.errors import UserError

    if args.output.resolve() == inputs[0].parent.resolve():
        raise UserError(f"--output {args.output}: is the folder of the images themselves; choose another")
    if args.output.exists() and not args.output.is_dir():
        raise UserError(f"--output {args.output}: is a file; name a folder")
    if args.save_json and (args.save_json.is_dir() or args.save_json.resolve() in {file.resolve() for file in inputs}):
        raise UserError(f"--save-json {args.save_json}: is {'a folder' if args.save_json.is_dir() else 'an input'}")


def detect(predictor: Predictor, path: Path, image: np.ndarray, output: Path) -> dict[str, Any]:
    """Detect, draw, print a line; returns the image's entry of the JSON file."""
    from otadet.visualize.canvas import write_image
    from otadet.visualize.detections import draw_detections

    found = predictor(image)
    # The whole name, so that photo.jpg and photo.png do not meet.
    name = path.name if path.suffix.lower() in DRAWN_SUFFIXES else f"{path.name}.png"
    write_image(output / name, draw_detections(image, found, predictor.class_names))
    counts = Counter(predictor.class_names[label] for label in found.labels.tolist())
    print(f"{path}: {', '.join(f'{count} {name}' for name, count in counts.most_common()) or 'nothing'}")
    return {
        "file": str(path),
        "width": image.shape[1],
        "height": image.shape[0],
        "detections": as_plain(found, predictor.class_names),
    }


def as_plain(found: Detections, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Label, class name, score (0-1) and box (xyxy, pixels of the file) of each detection."""
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
    from otadet.files import atomic_write

    with atomic_write(path, "w") as file:
        json.dump(records, file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    run(main)
