"""Images per second of the loaders in one process, beside bare `cv2.imread` and `cv2.resize`.

python benchmarks/loader.py
python benchmarks/loader.py --images PATH/TO/PHOTOS --resize 480/800 --rounds 40
python benchmarks/loader.py --size 480/640

Each round loads one batch with otadet (checked, decoded, resized, in training mirrored at random, padded, packed, with
its boxes), then reads and resizes the same files with nothing but OpenCV, so that what disturbs the machine disturbs
both. Ratios are medians of those of the rounds, by the clock and by the time of the processor, which other programs
disturb less. OpenCV is measured with the interpolation that otadet uses, averages where a picture shrinks, and with its
default, which is faster there and aliases. Without --images, pictures of 427 x 640 to 1333 x 1000 pixels are made.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # As a script it has its own folder there, whose package `benchmarks` is to be found as everywhere.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.trainbench.hardware import device_name
from otadet.cli import run
from otadet.command_line import Parser, as_path, at_least
from otadet.data.annotations import Annotations
from otadet.data.batch import Batch
from otadet.data.class_list import SourceClasses
from otadet.data.dataset import DetectionDataset
from otadet.data.image_names import ImageNames
from otadet.data.images import IMAGE_SUFFIXES
from otadet.data.loader import eval_loader, train_loader
from otadet.data.transforms import Compose, RandomFlip, ResizeShortestEdge
from otadet.errors import UserError

SIZES = ((480, 640), (640, 480), (427, 640), (800, 1333), (720, 1280), (1333, 1000))
"""(height, width) of the pictures that are made."""
BOXES = 7
"""Per image, as in COCO."""


def parse_args() -> Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--images", type=as_path, metavar="FOLDER", help="with photos; default: pictures are made")
    parser.add_argument(
        "--size", type=as_size, metavar="HEIGHT/WIDTH", help="of the pictures that are made; default: several sizes"
    )
    parser.add_argument("--count", type=at_least(1), default=48, metavar="N", help="images at most; default: 48")
    parser.add_argument("--resize", type=as_size, default="800/1333", metavar="SHORT/LONG", help="default: 800/1333")
    parser.add_argument("--batch", type=at_least(1), default=4, metavar="N", help="images per batch; default: 4")
    parser.add_argument("--rounds", type=at_least(1), default=30, metavar="N", help="default: 30")
    return parser.parse_args()


def as_size(text: str) -> tuple[int, int]:
    """Two numbers of pixels, as 800/1333."""
    sides = text.split("/")
    if len(sides) != 2 or not all(side.isdigit() and 16 <= int(side) <= 65_535 for side in sides):
        raise ArgumentTypeError(f"{text!r} must be two numbers of pixels, 16 to 65535, such as 800/1333")
    return int(sides[0]), int(sides[1])


def main() -> None:
    args = parse_args()
    short, long = args.resize
    sizes = SIZES if args.size is None else (args.size,)
    resize = ResizeShortestEdge((short,), long)
    cv2.setNumThreads(0)
    with TemporaryDirectory() as folder:
        dataset = data_of(args.images or made(Path(folder), args.count, sizes), args.count)
        processor = device_name(torch.device("cpu"))
        print(f"{len(dataset)} images, resized to {short}/{long}, batches of {args.batch}, {processor}")
        for name, source in {"whole images": dataset, "reduced decoding": dataset.reduced_for(resize)}.items():
            for purpose, batches in loaders(source, resize, args.batch).items():
                print(f"{name}, {purpose}: {compared(dataset.image_dir, batches, resize, args.rounds)}", flush=True)


def loaders(dataset: DetectionDataset, resize: ResizeShortestEdge, batch_size: int) -> dict[str, Iterator[Batch]]:
    """Endless ones."""
    padding = {"pad_value": (124, 116, 104), "size_divisor": 32}
    training = train_loader(
        dataset,
        Compose((resize, RandomFlip(0.5))),
        batch_size=batch_size,
        iterations=sys.maxsize // batch_size,
        group_by_aspect=True,
        **padding,
    )
    evaluation = eval_loader(dataset, resize, batch_size=batch_size, **padding)
    return {"training": iter(training), "evaluation": chain.from_iterable(repeat(evaluation))}


def compared(folder: Path, batches: Iterator[Batch], resize: ResizeShortestEdge, rounds: int) -> str:
    for _ in range(2):
        next(batches)
    taken: dict[str, list[tuple[float, float]]] = {"otadet": [], "OpenCV": [], "OpenCV, default interpolation": []}
    for _ in range(rounds):
        batch, *seconds = timed(lambda: next(batches))
        paths = [folder / name for name in batch.file_names]
        taken["otadet"].append((seconds[0] / len(batch), seconds[1] / len(batch)))
        for name, area in {"OpenCV": True, "OpenCV, default interpolation": False}.items():
            _, *seconds = timed(partial(bare, paths, resize, area))
            taken[name].append((seconds[0] / len(batch), seconds[1] / len(batch)))
    own = taken.pop("otadet")
    lines = [f"{1 / median(wall for wall, _ in own):.1f} images/s"]
    for name, others in taken.items():
        wall, cpu = (
            median(other[clock] / mine[clock] for other, mine in zip(others, own, strict=True)) for clock in (0, 1)
        )
        speed = 1 / median(wall for wall, _ in others)
        lines.append(f"  {wall:.2f} of the {speed:.1f} images/s of {name} ({cpu:.2f} by processor time)")
    return "\n".join(lines)


def bare(paths: list[Path], resize: ResizeShortestEdge, area: bool) -> None:
    for path in paths:
        image = cv2.imread(str(path))
        height, width = resize.needed_size(*image.shape[:2])
        shrinks = area and height < image.shape[0]
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """Its result, and the seconds that it took by the clock and of the processor."""
    wall, cpu = perf_counter(), process_time()
    result = call()
    return result, perf_counter() - wall, process_time() - cpu


def made(folder: Path, count: int, sizes: Sequence[tuple[int, int]] = SIZES) -> Path:
    """JPEGs with the detail of photos, about 1.5 bits per pixel. sizes: (height, width) of each, in turn."""
    rng = np.random.default_rng(0)
    for number in range(count):
        height, width = sizes[number % len(sizes)]
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noisy = (smooth + rng.normal(0, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:05}.jpg"), noisy, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return folder


def data_of(folder: Path, count: int) -> DetectionDataset:
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder")
    names = [path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES][:count]
    if not names:
        raise UserError(f"{folder}: has no images")
    rows = np.repeat(np.arange(len(names)), BOXES)
    rng = np.random.default_rng(0)
    return DetectionDataset(
        Annotations(
            source=folder,
            image_dir=folder,
            classes=SourceClasses((0,), ("object",), np.array([len(rows)]), np.array([False])),
            image_ids=np.arange(len(names)),
            file_names=ImageNames.of(names),
            image_sizes=np.zeros((len(names), 2), np.int64),
            image_rows=rows,
            class_rows=np.zeros(len(rows), np.int64),
            boxes=np.sort(rng.uniform(0, 300, (len(rows), 2, 2)), axis=1).reshape(-1, 4),
            areas=np.full(len(rows), np.nan),
            ignored=np.zeros(len(rows), bool),
        )
    )


if __name__ == "__main__":
    run(main)
