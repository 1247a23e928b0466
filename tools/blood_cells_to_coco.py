"""Turn the blood cell detection data set (github.com/draaslan/blood-cell-detection-dataset) into a COCO folder.

python tools/blood_cells_to_coco.py path/to/blood-cell-detection-dataset --output datasets/blood_cells

Reads annotations.csv (columns image, xmin, ymin, xmax, ymax, label, in any order) and images/, and writes images/ and
annotations/instances_{train,val}.json. Many of the pictures are shifted views of one field of the smear; those that
overlap go into the same split, so that nothing is validated on cells that were trained on.
"""

from __future__ import annotations

import os

from otadet.engine.stop import end_at_once_on_signals

if __name__ == "__main__":
    end_at_once_on_signals()  # before the imports that take seconds

import csv
import json
import math
import shutil
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from otadet.cli import run_tool
from otadet.command_line import Parser, as_path
from otadet.data.images import read_image
from otadet.errors import UserError
from otadet.files import atomic_path, atomic_write
from otadet.names import MAX_CLASS_NAME, clean_name

COORDINATES = ("xmin", "ymin", "xmax", "ymax")
LEAST_OVERLAP = 0.15
"""Part of a picture that two views must share to be found; below it, chance begins to look like a match."""
LEAST_CORRELATION = 0.85
"""Of the shared part. Views of one field reach 0.95 and more, different fields 0.6 at most."""


@dataclass(frozen=True)
class Cell:
    """One row of the table; corners in pixels."""

    line: int
    """Of the file, from 1."""
    image: str
    label: str
    corners: tuple[float, float, float, float]


OUTPUT = Path("datasets/blood_cells")


def parse_args() -> Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("source", type=as_path, metavar="SRC", help="the folder with annotations.csv and images/")
    parser.add_argument("--output", type=as_path, default=OUTPUT, metavar="DIR", help=f"default: {OUTPUT}")
    parser.add_argument(
        "--val-fraction", type=float, default=0.25, metavar="F", help="images to validate on, 0-1; default: 0.25"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the split; default: 0")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not 0 < args.val_fraction < 1:
        raise UserError(f"--val-fraction {args.val_fraction}: must lie between 0 and 1")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: must not be negative")
    cells = read_cells(args.source / "annotations.csv")
    names = sorted({cell.image for cell in cells}, key=lambda name: (len(name), name))
    sizes, views = read_views(args.source / "images", names)
    check_boxes(cells, sizes, args.source / "annotations.csv")
    fields = group_views(views)
    in_val = split_fields(fields, args.val_fraction, args.seed)

    copy_files([*(f"images/{name}" for name in names), "LICENSE"], args.source, args.output)
    labels = sorted({cell.label for cell in cells})
    for split, wanted in (("train", False), ("val", True)):
        members = {name: number for number, name in enumerate(names, start=1) if in_val[number - 1] == wanted}
        content = coco_content([cell for cell in cells if cell.image in members], members, sizes, labels)
        with atomic_write(args.output / f"annotations/instances_{split}.json", "w") as file:
            json.dump(content, file)
        print(f"{split}: {len(members)} images, {len(content['annotations'])} boxes")
    print(f"{len(names)} images of {len(set(fields))} fields, written to {args.output}")
    labels_of_box = Counter((cell.image, cell.corners) for cell in set(cells))
    if twice := sum(count > 1 for count in labels_of_box.values()):
        print(f"note: {twice} boxes are in the table with two labels; they are kept as they are")


def read_cells(path: Path) -> list[Cell]:
    """The rows of the table, in its order. Raises `UserError` naming the file and the line."""
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file" if not os.path.exists(path) else f"{path}: is no regular file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            missing = [name for name in ("image", "label", *COORDINATES) if name not in (rows.fieldnames or ())]
            if missing:
                found = ", ".join(rows.fieldnames or ()) or "nothing"
                raise UserError(f"{path}: has no column {', '.join(missing)}; its first line holds {found}")
            cells = [_cell(row, path, rows.line_num) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not cells:
        raise UserError(f"{path}: holds no boxes")
    return cells


def _cell(row: dict[str | None, str | None], path: Path, line: int) -> Cell:
    where = f"{path}, line {line}"
    if None in row:
        raise UserError(f"{where}: has more fields than the first line")
    for name in ("image", "label"):
        if not (row[name] or "").strip():
            raise UserError(f"{where}: {name} is empty")
    image, label = row["image"], row["label"]
    if image in (".", "..") or not image.isprintable() or set(image) & set("/\\:"):
        raise UserError(f"{where}: image {image!a:.80} is not the name of a file in images/; folders are not allowed")
    if len(label) > MAX_CLASS_NAME or label != clean_name(label):
        raise UserError(f"{where}: label {label!a:.80} is not fit for the name of a class")
    values = ", ".join(f"{name} {row[name]!a:.40}" for name in COORDINATES)
    try:
        xmin, ymin, xmax, ymax = corners = tuple(float(row[name]) for name in COORDINATES)
    except (TypeError, ValueError):
        raise UserError(f"{where}: the corners are not all numbers: {values}") from None
    if not all(map(math.isfinite, corners)):
        raise UserError(f"{where}: the corners are not all finite: {values}")
    if xmin > xmax or ymin > ymax:
        raise UserError(f"{where}: a lower corner is above the upper one: {values}")
    return Cell(line, image, label, corners)


def read_views(folder: Path, names: Sequence[str]) -> tuple[dict[str, tuple[int, int]], list[np.ndarray]]:
    """Of each image its (height, width), and the picture in grey at half its size."""
    sizes, views = {}, []
    for name in names:
        image = read_image(folder / name)
        sizes[name] = image.shape[:2]
        half = max(1, round(image.shape[1] / 2)), max(1, round(image.shape[0] / 2))
        views.append(cv2.cvtColor(cv2.resize(image, half, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY))
    return sizes, views


def check_boxes(cells: Sequence[Cell], sizes: dict[str, tuple[int, int]], path: Path) -> None:
    """Raise `UserError` for a box of the table that lies outside its image."""
    for cell in cells:
        height, width = sizes[cell.image]
        xmin, ymin, xmax, ymax = cell.corners
        if (
            xmin >= width
            or ymin >= height
            or xmax <= 0
            or ymax <= 0
            or max(xmax - width, ymax - height) > width + height
        ):
            raise UserError(
                f"{path}, line {cell.line}: the box {xmin:g}, {ymin:g} to {xmax:g}, {ymax:g} is not inside "
                f"{cell.image}, which has {width} x {height} pixels"
            )


def copy_files(names: Sequence[str], source: Path, target: Path) -> None:
    """Copies files from folder to folder, unless the two are the same; what does not exist is left out."""
    try:
        for name in names:
            if os.path.isfile(source / name) and os.path.realpath(source / name) != os.path.realpath(target / name):
                # Into place as a whole, so that a link of that name is replaced and not followed.
                with atomic_path(target / name) as temporary:
                    shutil.copyfile(source / name, temporary)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error}; choose another --output") from error


def group_views(small: Sequence[np.ndarray]) -> list[int]:
    """For each of I pictures (H, W) the number of its field: the same for those that overlap after a shift."""
    fields = list(range(len(small)))
    spectra = [_whitened_spectrum(image) for image in small]
    for i in range(len(small)):
        for j in range(i):
            if small[i].shape != small[j].shape or fields[i] == fields[j]:
                continue
            # The peak of the phase correlation is at the shift, up to whole turns around the picture.
            peak = np.fft.irfft2(spectra[i] * spectra[j].conj(), s=small[i].shape).argmax()
            if _correlation(small[i], small[j], *np.unravel_index(peak, small[i].shape)) >= LEAST_CORRELATION:
                fields = [fields[j] if field == fields[i] else field for field in fields]
    return fields


def _whitened_spectrum(image: np.ndarray) -> np.ndarray:
    window = cv2.createHanningWindow(image.shape[::-1], cv2.CV_32F)
    spectrum = np.fft.rfft2((image - image.mean()) * window)
    return spectrum / (abs(spectrum) + 1e-6)


def _correlation(a: np.ndarray, b: np.ndarray, down: int, right: int) -> float:
    """The largest correlation (up to 1) of what (H, W) `a` and `b` share when `b` is shifted, modulo their size."""
    height, width = a.shape
    best = 0.0
    for dy in (down, down - height):
        for dx in (right, right - width):
            if (height - abs(dy)) * (width - abs(dx)) < LEAST_OVERLAP * a.size:
                continue
            part_a = a[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)].astype(np.float64)
            part_b = b[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)].astype(np.float64)
            if part_a.std() and part_b.std():
                best = max(best, np.corrcoef(part_a.ravel(), part_b.ravel())[0, 1])
    return float(best)


def split_fields(fields: Sequence[int], fraction: float, seed: int) -> np.ndarray:
    """(I,) bool: the images to validate on, about `fraction` of them, whole fields at a time."""
    in_val, wanted = np.zeros(len(fields), bool), max(round(fraction * len(fields)), 1)
    for field in np.random.default_rng(seed).permutation(np.unique(fields)):
        members = np.equal(fields, field)
        if in_val.sum() + members.sum() <= wanted:
            in_val |= members
    if in_val.all() or not in_val.any():
        raise UserError(f"{len(fields)} images of {len(set(fields))} fields cannot be split; is --val-fraction right?")
    return in_val


def coco_content(
    cells: Sequence[Cell], images: dict[str, int], sizes: dict[str, tuple[int, int]], labels: Sequence[str]
) -> dict:
    """A COCO instances file. images: the id of each file name. sizes: (height, width) of each, in pixels."""
    annotations = []
    for number, cell in enumerate(cells, start=1):
        xmin, ymin, xmax, ymax = cell.corners
        box = [round(value, 2) for value in (xmin, ymin, xmax - xmin, ymax - ymin)]
        ids = {"id": number, "image_id": images[cell.image], "category_id": labels.index(cell.label) + 1}
        annotations.append({**ids, "bbox": box, "area": round(box[2] * box[3], 2), "iscrowd": 0})
    return {
        "info": {"description": "blood cells, github.com/draaslan/blood-cell-detection-dataset"},
        "licenses": [],
        "images": [
            {"id": number, "file_name": name, "height": sizes[name][0], "width": sizes[name][1]}
            for name, number in images.items()
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, start=1)],
    }


if __name__ == "__main__":
    run_tool(main)
