"""What may be wrong with the image files of a split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from otadet.data.check.finding import Finding, Place, of_all
from otadet.data.check.kinds import (
    IMAGE_BITS,
    IMAGE_BLANK,
    IMAGE_LISTED_TWICE,
    IMAGE_MISSING,
    IMAGE_ROTATED,
    IMAGE_SIZE,
    IMAGE_UNLISTED,
    IMAGE_UNREADABLE,
)
from otadet.data.check.split import Split
from otadet.data.image_file import shown
from otadet.data.image_names import SimilarNames
from otadet.data.images import IMAGE_SUFFIXES, ReadOptions
from otadet.data.prescan import range_warnings, size_problem


def image_findings(split: Split, options: ReadOptions) -> list[Finding]:
    """All about the files of one split. options: how they are read."""
    return [
        *_unreadable(split),
        *_without_image(split),
        *_sizes(split, options),
        *_listed_twice(split),
        *_rotated(split, options),
        *_blank(split),
        *_bits(split, options),
    ]


def _unreadable(split: Split) -> list[Finding]:
    missing = [row for row, problem in split.files.problems.items() if problem.endswith("no such image file")]
    damaged = [row for row in split.files.problems if row not in set(missing)]
    found = []
    if missing:
        name = split.annotations.file_names[missing[0]]
        hint = SimilarNames(split.annotations.image_dir).hint(name)
        message = f"{of_all(len(missing), split.images, 'image files')}: not there: {_first(split, missing)}{hint}"
        found.append(IMAGE_MISSING.found(split.name, message, len(missing), split.places(missing)))
    if damaged:
        message = f"{of_all(len(damaged), split.images, 'image files')}: {_problem(split, damaged[0])}"
        places = [
            replace(place, problem=_problem(split, row))
            for place, row in zip(split.places(damaged), damaged, strict=True)
        ]
        found.append(IMAGE_UNREADABLE.found(split.name, message, len(damaged), places))
    return found


def _without_image(split: Split) -> list[Finding]:
    files = split.annotations.without_image
    if not files:
        return []
    message = f"files of annotations without their image: {len(files):,}, such as {shown(files[0])}"
    return [IMAGE_MISSING.found(split.name, message, len(files), [Place(split.name, file) for file in files])]


def _problem(split: Split, row: int) -> str:
    return split.files.problems[row].removeprefix(f"{shown(split.files.paths[row])}: ")


def _first(split: Split, rows: Sequence[int]) -> str:
    return split.files.problems[rows[0]]


def _sizes(split: Split, options: ReadOptions) -> list[Finding]:
    """Apart from others those that an EXIF orientation explains, whose fix is another one."""
    annotated, sizes = split.annotations.image_sizes, split.files.sizes
    differ = ((annotated != sizes) & (annotated > 0) & (sizes > 0)).any(axis=1)
    turned = differ & (split.files.orientations >= 5) & (annotated == sizes[:, ::-1]).all(axis=1)
    upright = "false" if options.upright else "true"
    fix = f"set data.exif_orientation {upright}, as the boxes are for pictures that are read so"
    return [*_of_other_size(split, differ & ~turned, options, ""), *_of_other_size(split, turned, options, fix)]


def _of_other_size(split: Split, which: np.ndarray, options: ReadOptions, fix: str) -> list[Finding]:
    """which: (S,) bool."""
    rows = np.flatnonzero(which).tolist()
    if not rows:
        return []
    height, width = split.files.sizes[rows[0]].tolist()
    wanted_height, wanted_width = split.annotations.image_sizes[rows[0]].tolist()
    first = size_problem(split.files.paths[rows[0]], (height, width), (wanted_height, wanted_width), options)
    message = f"{of_all(len(rows), split.images, 'images')}: another size than annotated: {first}"
    return [IMAGE_SIZE.found(split.name, message, len(rows), split.places(rows), fix=fix)]


def _listed_twice(split: Split) -> list[Finding]:
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(split.files.paths):
        rows.setdefault(os.path.normpath(path), []).append(row)
    twice = [row for group in rows.values() if len(group) > 1 for row in group]
    if not twice:
        return []
    files = sum(len(group) > 1 for group in rows.values())
    message = f"{of_all(files, len(rows), 'image files')}: several entries in the annotations"
    return [IMAGE_LISTED_TWICE.found(split.name, message, files, split.places(twice))]


def _rotated(split: Split, options: ReadOptions) -> list[Finding]:
    rows = np.flatnonzero(split.files.orientations != 1)
    if not len(rows) or options.upright:
        return []
    message = f"{of_all(len(rows), split.images, 'image files')}: an EXIF orientation, which is ignored"
    return [IMAGE_ROTATED.found(split.name, message, len(rows), split.places(rows))]


def _blank(split: Split) -> list[Finding]:
    rows = np.flatnonzero(split.files.blank)
    if not len(rows):
        return []
    message = f"{of_all(len(rows), split.images, 'pictures')}: of one colour"
    return [IMAGE_BLANK.found(split.name, message, len(rows), split.places(rows))]


def _bits(split: Split, options: ReadOptions) -> list[Finding]:
    rows = np.flatnonzero(split.files.bits == 16).tolist()
    lines = range_warnings(rows, split.files.paths, options) if rows else []
    return [IMAGE_BITS.found(split.name, line, len(rows), split.places(rows)) for line in lines]


def unlisted_findings(splits: Sequence[Split]) -> list[Finding]:
    """About image files in the folders of annotated ones that no split has."""
    listed = {os.path.normpath(path) for split in splits for path in split.files.paths}
    folders = sorted({os.path.dirname(path) for path in listed})
    unlisted = [file for folder in folders for file in _images_in(folder) if file not in listed]
    if not unlisted:
        return []
    name = "+".join(split.name for split in splits)
    message = f"image files that no split has: {len(unlisted):,}, beside {len(listed):,} that are annotated"
    return [IMAGE_UNLISTED.found(name, message, len(unlisted), [Place("", file) for file in unlisted])]


def _images_in(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        # Its images are missing, and said to be.
        return []
    return [str(Path(folder, name)) for name in names if name.lower().endswith(IMAGE_SUFFIXES) and name[0] != "."]
