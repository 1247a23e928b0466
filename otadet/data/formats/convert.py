"""Writes a data set in another format. Shape letters: `S` images, `M` boxes."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.layout import Layout
from otadet.data.formats.write_coco import COCO
from otadet.data.formats.write_voc import VOC
from otadet.data.formats.write_yolo import YOLO
from otadet.data.formats.written import FileNames, Writer, WrittenClasses, WrittenSplit
from otadet.data.images import look_at_header
from otadet.errors import UserError
from otadet.files import new_folder

WRITERS: Mapping[str, Writer] = {"coco": COCO, "yolo": YOLO, "voc": VOC}
"""By the word that names a format."""
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2", "PPM": ".ppm"}
"""Of Pillow's formats whose usual one is not their name."""


@dataclass(frozen=True)
class Conversion:
    """What was done."""

    summaries: Mapping[str, str]
    """Split -> what it holds, and what its reader left out."""
    lost: Counter[str]
    """What the format cannot hold, in words, and how often."""
    copied: int
    """Images that were to be linked, and had to be copied."""
    renamed: tuple[tuple[str, str], ...] = ()
    """(name in the source, name without folders) of images whose files are called otherwise now: two had the same name
    but for folder and suffix, or it has characters that some lists cannot hold."""


def convert(layout: Layout, target: Path, to: str, *, link: bool = False, unreadable: str = "fail") -> Conversion:
    """Write all splits of a data set into a new folder, with their images.

    Boxes are written as they are, not clipped; those that no training would see, of no size or outside their image, are
    left out. The order of images is kept, also their ids and those of classes from COCO to COCO.

    Args:
        layout: the data.
        target: the folder; it must be empty or not exist, and appears when everything is written.
        to: a format of `WRITERS`.
        link: make hard links of the images, where the file system can, in place of copies.
        unreadable: as in `DetectionDataset`.

    Raises `UserError` for data that cannot be read, and a folder that cannot be written.
    """
    writer = WRITERS[to]
    with new_folder(target) as folder:
        datasets = {
            split: DetectionDataset(source.read(), unreadable=unreadable) for split, source in layout.splits.items()
        }
        classes = _classes(datasets, layout.format == "COCO")
        lost: Counter[str] = Counter()
        names, copied = FileNames(), 0
        splits: dict[str, WrittenSplit] = {}
        for split, dataset in datasets.items():
            images = folder / writer.image_dir(split)
            images.mkdir(parents=True, exist_ok=True)
            written = _split(dataset, classes.names, names, lost)
            for row, name in enumerate(written.names):
                copied += _place(dataset.path(row), images / name, link)
            splits[split] = written
        lost.update(writer.write(folder, splits, classes))
    summaries = {split: data.summary() for split, data in datasets.items()}
    return Conversion(summaries, +lost, copied, tuple(_renamed(datasets, splits)))


def _renamed(
    datasets: Mapping[str, DetectionDataset], written: Mapping[str, WrittenSplit]
) -> Iterator[tuple[str, str]]:
    for split, dataset in datasets.items():
        for old, new in zip(dataset.annotations.file_names, written[split].names, strict=True):
            if old.replace("\\", "/").rsplit("/", 1)[-1] != new:
                yield old, new


def _classes(datasets: Mapping[str, DetectionDataset], keep_ids: bool) -> WrittenClasses:
    """Those of all splits, in their order; ids are counted from 1 unless the splits agree on others."""
    ids: dict[str, int] = {}
    for dataset in datasets.values():
        for name, number in zip(dataset.class_names, dataset.source_ids, strict=True):
            keep_ids = keep_ids and ids.setdefault(name, number) == number
            ids.setdefault(name, number)
    if not keep_ids or len(set(ids.values())) < len(ids):
        ids = {name: number for number, name in enumerate(ids, start=1)}
    return WrittenClasses(tuple(ids), tuple(ids.values()))


def _split(
    dataset: DetectionDataset, class_names: tuple[str, ...], names: FileNames, lost: Counter[str]
) -> WrittenSplit:
    data, kept = dataset.annotations, dataset.valid
    lost["boxes of no size or outside their image left out"] += int((~kept).sum())
    place = {name: label for label, name in enumerate(class_names)}
    labels = np.array([place[name] for name in dataset.class_names])
    return WrittenSplit(
        names=[
            names.name(data.file_names[row], lambda row=row: _suffix(dataset.path(row)))  # type: ignore[misc]
            for row in range(len(dataset))
        ],
        image_ids=data.image_ids,
        sizes=dataset.sizes,
        offsets=np.searchsorted(data.image_rows[kept], np.arange(len(dataset) + 1)),
        labels=labels[dataset.labels[kept]],
        boxes=data.boxes[kept],
        areas=data.areas[kept],
        ignored=data.ignored[kept],
    )


def _suffix(path: Path) -> str:
    """The usual one of the format that an image file is in."""
    found = look_at_header(path).format
    return _SUFFIXES.get(found, f".{found.lower()}")


def _place(source: Path, target: Path, link: bool) -> bool:
    """Link or copy a file; returns whether it was copied although it was to be linked."""
    if link:
        try:
            os.link(os.path.realpath(source), target)
            return False
        except OSError as error:
            # Another file system, one without links, or too many of them.
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise UserError(f"{source}: has gone while it was copied") from error
    return link
