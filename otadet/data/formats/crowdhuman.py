"""CrowdHuman: a line of JSON per image, and persons in crowds. Shape letter: `S` images."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from otadet.boxes import xywh_to_xyxy
from otadet.data.annotations import Annotations, BrokenEntry, note_wrong
from otadet.data.class_list import SourceClasses
from otadet.data.formats.crowdhuman_file import Which, lines, read_lines
from otadet.data.formats.folders import Listings, absolute, is_image, stem
from otadet.data.formats.json_file import brief_value
from otadet.data.formats.layout import ALL, SPLITS, Layout, split_name
from otadet.data.image_file import shown
from otadet.data.image_names import ImageNames
from otadet.errors import UserError

_CLASS = {"full": "person", "visible": "person", "head": "head"}
_LOOKED_AT = 5


@dataclass(frozen=True)
class CrowdHumanSplit:
    """One split of CrowdHuman: a source of annotations."""

    path: Path
    image_dir: Path
    boxes: Which = "full"
    lenient: bool = False

    def read(self) -> Annotations:
        """As `read_crowdhuman`."""
        return read_crowdhuman(self.path, self.image_dir, boxes=self.boxes, lenient=self.lenient)


def find_crowdhuman(path: str | Path, *, boxes: Which = "full") -> Layout | None:
    """The `.odgt` files of a folder, whose names say the split; None where there is none.

    Where none is in it they may be in the folders right in it, `annotations` or one per split, whose names count then;
    several for a split are data sets of their own. Raises `UserError` where two in the folder itself are for the same
    split, or one of several names none.
    """
    folder, listings = Path(path), Listings()
    found = _odgt_files(folder, listings)
    if found:
        splits = _by_split(found, folder)
    else:
        found = [file for name in listings.folders(absolute(folder)) for file in _odgt_files(folder / name, listings)]
        try:
            splits = _by_split(found, folder)
        except UserError:
            return None
    if not found:
        return None
    order = {split: place for place, split in enumerate((*SPLITS, ALL))}
    return Layout(
        "CrowdHuman",
        ", ".join(shown(file.relative_to(folder)) for file in found),
        {split: CrowdHumanSplit(splits[split], folder, boxes) for split in sorted(splits, key=order.__getitem__)},
    )


def read_crowdhuman(
    path: str | Path, image_dir: str | Path, *, boxes: Which = "full", lenient: bool = False
) -> Annotations:
    """The annotations of a file. Masks, and what is marked `ignore`, become ignored regions, as in its protocol.

    Args:
        path: the `.odgt` file.
        image_dir: the folder that has the image ID.jpg of each line, in it or in a folder below.
        boxes: of which kind; the class is "person", and "head" for heads.
        lenient: for whoever looks for faults: leave out lines and entries that are wrong, and say which, in place of an
            error. An image whose line is wrong has no boxes.

    Raises `UserError` naming the file, the line and the entry of what is no such file.
    """
    path, image_dir = Path(path), Path(image_dir)
    broken: list[BrokenEntry] | None = [] if lenient else None
    found = read_lines(path, boxes, broken)
    if not found.ids:
        raise UserError(f"{shown(path)}: has no line; expected is one per image")
    names = _image_names(path, found.ids, image_dir, broken)
    order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
    count = len(found.rows)
    with np.errstate(over="ignore", invalid="ignore"):
        corners = xywh_to_xyxy(np.array(found.corners, dtype=np.float64).reshape(-1, 4))
    return Annotations(
        source=path,
        image_dir=image_dir,
        classes=SourceClasses((0,), (_CLASS[boxes],), np.array([count]), np.zeros(1, dtype=bool)),
        image_ids=np.arange(1, len(names) + 1),
        file_names=ImageNames.of([names[row] for row in order.tolist()]),
        image_sizes=np.zeros((len(names), 2), dtype=np.int64),
        image_rows=np.argsort(order)[np.array(found.rows, dtype=np.int64)],
        class_rows=np.zeros(count, dtype=np.int64),
        boxes=corners,
        areas=np.full(count, np.nan),
        ignored=np.array(found.ignored, dtype=bool),
        why_no_boxes="" if count else f"the gtboxes of its {len(names)} lines are empty",
        ignored_hint="set ignore 0 if they are single persons",
        dropped=tuple(found.dropped.items()),
        broken=tuple(broken or ()),
        protocol="crowdhuman",
    )


def _image_names(path: Path, ids: dict[str, int], image_dir: Path, broken: list[BrokenEntry] | None) -> list[str]:
    """(S,) relative to the folder; where there is no image the name that it should have."""
    root, listings = absolute(image_dir), Listings()
    by_id: dict[str, str] = {}
    for place in listings.below(root):
        inner = os.path.relpath(place, root)
        for name in listings.files(place):
            key = stem(name)
            if not is_image(name) or key not in ids:
                continue
            image = os.path.normpath(os.path.join(inner, name))
            if key in by_id:
                both = f"{shown(by_id[key])} and {shown(image)}"
                note_wrong(path, f"line {ids[key]}: ID {brief_value(key)} is {both}; remove one of them", broken)
                continue
            by_id[key] = image
    return [by_id.get(name, f"{name}.jpg") for name in ids]


def _odgt_files(folder: Path, listings: Listings) -> list[Path]:
    files = [folder / name for name in listings.files(absolute(folder)) if name.lower().endswith(".odgt")]
    return [file for file in files if _is_crowdhuman(file)]


def _by_split(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    splits: dict[str, Path] = {}
    for file in files:
        split = _split(file.stem) or (_split(file.parent.name) if file.parent != folder else None)
        split = split or (ALL if len(files) == 1 else None)
        if split is None or split in splits:
            problem = f"is for {split}, as {splits[split].name} is" if split else "does not say train, val or test"
            raise UserError(f"{shown(file)}: {problem}; rename it, as in annotation_train.odgt, or remove it")
        splits[split] = file
    return splits


def _split(name: str) -> str | None:
    words = {split_name(word) for word in re.split(r"[^a-z]+", name.lower())} & set(SPLITS)
    return words.pop() if len(words) == 1 else None


def _is_crowdhuman(file: Path) -> bool:
    """Whether one of the first lines is an object with an ID; one that is damaged is taken for such a file too."""
    for line in islice(lines(file), _LOOKED_AT):
        if line.strip():
            try:
                return "ID" in json.loads(line)
            except (ValueError, TypeError, RecursionError):
                return True
    return True
