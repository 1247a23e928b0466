"""The picture sheet of the check: examples of what was found, and images by chance, with their boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from otadet.data.check.finding import Finding, Place
from otadet.data.check.kinds import IMAGE_ROTATED
from otadet.data.check.split import Split
from otadet.data.images import ReadOptions, read_image
from otadet.errors import UserError
from otadet.visualize.annotations import AnnotatedImage, annotation_sheet
from otadet.visualize.canvas import resized
from otadet.visualize.sheet import ROW_HEIGHTS, SHEET_WIDTH

EXAMPLES, BY_CHANCE, AT_MOST = 4, 8, 60
"""Pictures of each finding, pictures by chance, and pictures in all."""
_LARGEST = 1e6
"""Pixels: a corner that is farther out is drawn there."""


def draw_sheet(splits: Sequence[Split], findings: Sequence[Finding], options: ReadOptions, out: Path) -> int:
    """Writes the sheet; returns how many pictures are on it, and writes none where that is 0."""
    by_name = {split.name: split for split in splits}
    names = list(dict.fromkeys(name for split in splits for name in split.annotations.classes.names))
    places = [*_examples(findings, by_name), *_by_chance(splits)][:AT_MOST]
    pictures = [
        _picture(by_name[place.split], place, names, caption, replace(options, upright=True) if upright else options)
        for caption, place, upright in places
    ]
    if pictures:
        annotation_sheet(pictures, names, out)
    return len(pictures)


def _examples(findings: Sequence[Finding], splits: Mapping[str, Split]) -> Iterator[tuple[str, Place, bool]]:
    """Of each finding those first that can be seen, and whether upright: (caption, place, upright)."""
    for finding in findings:
        visible = (
            place
            for place in finding.places
            if place.image_row is not None and place.image_row not in splits[place.split].files.problems
        )
        for place in islice(visible, EXAMPLES):
            yield f"{finding.severity}: {finding.id}", place, False
            if finding.id == IMAGE_ROTATED.id:
                yield f"{finding.id}: upright", place, True


def _by_chance(splits: Sequence[Split]) -> Iterator[tuple[str, Place, bool]]:
    """From all over the splits, always the same."""
    rng = np.random.default_rng(0)
    for split in splits:
        readable = np.setdiff1d(np.arange(split.images), list(split.files.problems))
        number = min(len(readable), max(1, BY_CHANCE // len(splits)))
        for row in np.sort(rng.choice(readable, number, replace=False)).tolist():
            yield "by chance", split.place(row), False


def _picture(split: Split, place: Place, names: Sequence[str], caption: str, options: ReadOptions) -> AnnotatedImage:
    annotations = split.annotations
    rows = np.flatnonzero(annotations.image_rows == place.image_row)
    rows = rows[np.isfinite(annotations.boxes[rows]).all(axis=1)]
    boxes = annotations.boxes[rows]
    label_of = np.array([names.index(name) for name in annotations.classes.names])
    try:
        image = read_image(place.file, options)
    except UserError:
        image, rows, boxes = None, rows[:0], boxes[:0]
    if image is not None:
        # Shares became pixels of what the reader took the picture for, perhaps of a turned one.
        size = annotations.image_sizes[place.image_row].clip(1) if annotations.as_shares else image.shape[:2]
        image = _for_a_sheet(image)
        height, width = image.shape[0] / size[0], image.shape[1] / size[1]
        boxes = boxes * (width, height, width, height)
    return AnnotatedImage(
        image=image,
        boxes=boxes.clip(-_LARGEST, _LARGEST),
        labels=label_of[annotations.class_rows[rows]],
        ignored=annotations.ignored[rows],
        marked=np.isin(rows, place.box_rows),
        caption=caption,
        file=f"{split.name} {Path(place.file).name}",
    )


def _for_a_sheet(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) with no more pixels than it can have on a sheet: many are held at once."""
    height, width = image.shape[:2]
    return resized(image, min(1.0, ROW_HEIGHTS[1] / height, SHEET_WIDTH / width))
