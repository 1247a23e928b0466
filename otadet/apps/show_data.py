"""Draw the next batches of a training: what the network gets to see, with boxes, names and ignored regions.

otadet show data -f exps/blood_cells.py
otadet show data -f mine.py --progress 0.9 augment.0.p 0.5
otadet show data data photos
otadet show data -c nano.pth data photos

The pictures come from the loader of the training, with its seed and its place in the stream: they are the ones that
`otadet train` of the same experiment has on one device. Without -f the experiment is that of `otadet train`, which with
-c is the one that the checkpoint describes, or with -c and `data FOLDER` that of its fine-tuning.
"""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otadet.apps.arguments import experiment_parser, parse, say
from otadet.command_line import as_path
from otadet.errors import UserError

if TYPE_CHECKING:
    from otadet.data.batch import Batch
    from otadet.data.dataset import DetectionDataset
    from otadet.exp import BaseExp
    from otadet.visualize.batch import BatchImage

ON_SHEET = 64
"""Images of the sheet at most: it stays a file that viewers open."""


def parser(prog: str | None = None) -> ArgumentParser:
    made = experiment_parser(__doc__, device=False)
    made.prog = prog or made.prog
    made.add_argument("-c", "--checkpoint", metavar="CKPT", help="of the training, or the one that it starts from")
    made.add_argument("--batches", type=count, default=1, metavar="N", help="how many, one after the other (1)")
    place = made.add_mutually_exclusive_group()
    place.add_argument("--start-iteration", type=int, metavar="N", help="the first batch, counted from 0 (0)")
    place.add_argument("--progress", type=share, metavar="SHARE", help="the first batch at this share of the training")
    made.add_argument(
        "--output", type=as_path, default=Path("runs/batch.png"), metavar="FILE", help="default: runs/batch.png"
    )
    made.add_argument("--json", action="store_true", help="print the file, and what is in each image, as JSON")
    return made


def count(text: str) -> int:
    """A number of batches."""
    if text.isdecimal() and int(text):
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number from 1 on")


def share(text: str) -> float:
    """A share of the training, 0-1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"{text!r} is not a share of the training: at least 0, below 1")
    return value


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse(parser(prog), argv)
    from otadet.apps.outputs import check_beside, check_outputs
    from otadet.visualize.batch import batch_sheet
    from otadet.visualize.canvas import check_picture, write_image

    check_picture(args.output)
    check_outputs({"--output": args.output}, [args.exp])
    exp = experiment(args)
    train_set = dataset(exp)
    check_outputs({"--output": args.output}, [train_set.source])
    check_beside("--output", args.output, train_set.image_dir, train_set.annotations.file_names)
    exp, _ = exp.for_data(train_set, 1)
    start = first_iteration(args, exp.iterations(len(train_set)))
    batches = drawn(exp, train_set, start, args.batches)
    if not args.json:
        say(f"training set: {train_set.summary()}")
    images = [image for number, batch in enumerate(batches, start=start) for image in shown(batch, number)]
    write_image(args.output, batch_sheet(images[:ON_SHEET], train_set.class_names))
    if args.json:
        print(json.dumps({"picture": str(args.output), "images": records(batches, start)}, ensure_ascii=False))
        return
    for number, batch in enumerate(batches, start=start):
        boxes = [len(truth.boxes) for truth in batch.truths]
        size = " x ".join(map(str, batch.images.shape[2:]))
        say(f"iteration {number} of {exp.iterations(len(train_set))}: {len(batch)} images, {size}, {sum(boxes)} boxes")
    say(f"{'all of them' if len(images) <= ON_SHEET else f'the first {ON_SHEET}'}: {args.output}")


def experiment(args: Namespace) -> BaseExp:
    """That of -f, of -c, or of a training without them, with the pairs applied; a folder alone is where the data are.

    Raises `UserError` for both.
    """
    from otadet.apps.published import checkpoint_path
    from otadet.apps.train import configured

    pairs = args.overrides
    if len(pairs) % 2 and os.path.exists(pairs[0]):
        pairs = ["data", *pairs]
    if args.checkpoint is not None and args.exp is not None:
        raise UserError("-f and -c: which weights a training starts from changes none of its batches; omit -c")
    weights = None if args.checkpoint is None else str(checkpoint_path(args.checkpoint))
    training = {"exp": args.exp, "checkpoint": weights, "resume": None, "output": None, "batch": None, "amp": False}
    return configured(Namespace(**training, overrides=pairs))


def dataset(exp: BaseExp) -> DetectionDataset:
    """The training set. All its files are looked at only where that decides which of them are in it."""
    from copy import copy

    if exp.data.unreadable == "fail":
        exp = copy(exp)
        exp.data = exp.data.without_prescan()
    return exp.build_train_dataset()


def first_iteration(args: Namespace, iterations: int) -> int:
    """Raises `UserError` for one that the training does not have."""
    if args.progress is not None:
        return int(args.progress * iterations)
    start = args.start_iteration or 0
    if not 0 <= start < iterations:
        raise UserError(f"--start-iteration {start}: the training has the iterations 0 to {iterations - 1}")
    return start


def drawn(exp: BaseExp, train_set: DetectionDataset, start: int, number: int) -> list[Batch]:
    """The batches, as the training has them."""
    from otadet.apps.batches import train_batches
    from otadet.exp.load import without_pretrained
    from otadet.models.detector import as_detector

    # What the sides are multiples of is the network's to say.
    model = as_detector(without_pretrained(exp).build_model(len(train_set.class_names)))
    transform = exp.build_train_transform()
    batches = train_batches(exp, train_set, transform, model.size_divisor, start_iteration=start)
    return list(islice(batches, number))


def shown(batch: Batch, iteration: int) -> list[BatchImage]:
    """The images of a batch, their padding with them, with a title and their boxes."""
    from otadet.visualize.batch import BatchImage

    return [
        BatchImage(f"{iteration}: {name}", image.permute(1, 2, 0).contiguous().numpy(), truth)
        for name, image, truth in zip(batch.file_names, batch.images, batch.truths, strict=True)
    ]


def records(batches: Sequence[Batch], start: int) -> list[dict[str, Any]]:
    """What `--json` says of each image; boxes are xyxy in pixels of the batch."""
    return [
        {
            "iteration": number,
            "image": name,
            "size": list(batch.images.shape[2:]),
            "boxes": truth.boxes.tolist(),
            "labels": truth.labels.tolist(),
            "ignored": [] if truth.ignored is None else truth.ignored.tolist(),
        }
        for number, batch in enumerate(batches, start=start)
        for name, truth in zip(batch.file_names, batch.truths, strict=True)
    ]
