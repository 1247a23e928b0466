"""Finds out which format a folder of annotated pictures is in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from otadet.data.formats.coco import coco_file, find_coco
from otadet.data.formats.crowdhuman import CrowdHumanSplit, find_crowdhuman
from otadet.data.formats.crowdhuman_file import Which
from otadet.data.formats.folders import no_such_folder
from otadet.data.formats.layout import ALL, Layout
from otadet.data.formats.voc import find_voc
from otadet.data.formats.yolo import find_yolo
from otadet.data.image_file import shown
from otadet.data.images import DEFAULT, ReadOptions
from otadet.errors import UserError


@dataclass(frozen=True)
class FindOptions:
    """How what is found is to be read."""

    outside_images: bool = False
    """Whether images may lie out of their folder."""
    images: ReadOptions = DEFAULT
    """How the image files are read: in some formats their size is needed."""
    boxes: Which = "full"
    """Of CrowdHuman: of which kind."""


def _find_coco(path: Path, options: FindOptions) -> Layout | None:
    find = coco_file if os.path.isfile(path) else find_coco
    return find(path, outside_images=options.outside_images)


def _find_yolo(path: Path, options: FindOptions) -> Layout | None:
    return find_yolo(path, outside_images=options.outside_images, options=options.images)


def _find_crowdhuman(path: Path, options: FindOptions) -> Layout | None:
    if os.path.isfile(path):
        source = CrowdHumanSplit(path, path.absolute().parent, options.boxes)
        return Layout("CrowdHuman", path.name, {ALL: source})
    return find_crowdhuman(path, boxes=options.boxes)


FINDERS: Mapping[str, Callable[[Path, FindOptions], Layout | None]] = {
    "coco": _find_coco,
    "yolo": _find_yolo,
    "voc": lambda path, options: find_voc(path),
    "crowdhuman": _find_crowdhuman,
}
"""By the word that names a format: what finds it in a folder, or takes one of its files."""
FILES = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".data": "yolo", ".odgt": "crowdhuman"}
"""Suffix of the file that describes data -> its format."""
PARTS = {"yolo": "YoloData", "voc": "VocData", "crowdhuman": "CrowdHumanData"}
"""Parts of an experiment that need no more than the folder; that of COCO names each file."""
_LOOKED_FOR = (
    "COCO (.json with lists named images, annotations and categories), YOLO (data.yaml, or folders images and labels "
    "with .txt), Pascal VOC (.xml), CrowdHuman (.odgt)"
)
_NAMED_AT_MOST = 5
_COUNTED_AT_MOST = 100_000


def find_data(path: str | Path, format: str = "auto", options: FindOptions = FindOptions()) -> Layout:
    """The format of the folder or the file at `path`, and its splits.

    Args:
        path: a folder, or the one file that describes the data.
        format: "auto", or the one of `FINDERS` that it is in.
        options: handed on to the sources.

    Raises `UserError` for a folder that is in none or in several, saying what lies there and how to choose.
    """
    path = Path(path)
    if format not in ("auto", *FINDERS):
        raise UserError(f"format {format}: choose auto or {' or '.join(FINDERS)}")
    if os.path.isfile(path):
        return _of_file(path, format, options)
    if not os.path.isdir(path):
        raise UserError(no_such_folder(path))
    tried = FINDERS if format == "auto" else {format: FINDERS[format]}
    found = {name: layout for name, find in tried.items() if (layout := find(path, options)) is not None}
    if not found:
        raise UserError(_nothing(path, format))
    if len(found) > 1:
        raise UserError(_several(path, found))
    return next(iter(found.values()))


def _of_file(path: Path, format: str, options: FindOptions) -> Layout:
    suffix = path.suffix.lower()
    if suffix not in FILES:
        raise UserError(f"{shown(path)}: is no annotation file, which end with {', '.join(FILES)}; name its folder")
    known = FILES[suffix]
    if format not in ("auto", known):
        raise UserError(f"{shown(path)}: is a file of format {known}, but data.format is {format}; set it to auto")
    layout = FINDERS[known](path, options)
    if layout is None:
        raise UserError(f"{shown(path)}: describes no {known} data")
    return layout


def _several(path: Path, found: Mapping[str, Layout]) -> str:
    what = " and ".join(f"{layout.format} ({layout.why})" for layout in found.values())
    how = " or ".join(f"data.format {name}" for name in found)
    folder = repr(str(path))
    parts = " or ".join(
        f"{PARTS[name]}({folder})" if name in PARTS else f'DataFolder({folder}, format="{name}")' for name in found
    )
    return f"{shown(path)}: may be {what}; say which by {how}, in an experiment {parts}"


def _nothing(path: Path, format: str) -> str:
    names = sorted(os.listdir(path))
    suffixes: Counter[str] = Counter()
    labelme = False
    for where, folders, files in os.walk(path):
        folders.sort()
        suffixes.update(Path(name).suffix.lower() or "without a suffix" for name in files)
        jsons = sorted(name for name in files if name.lower().endswith(".json"))
        labelme = labelme or bool(jsons and _is_labelme(Path(where, jsons[0])))
        if suffixes.total() > _COUNTED_AT_MOST:
            break
    listed = ", ".join(shown(Path(name)) for name in names[:_NAMED_AT_MOST])
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    counted = ", ".join(f"{number} {shown(Path(suffix))}" for suffix, number in suffixes.most_common(_NAMED_AT_MOST))
    there = f"there are {listed}{more}; files: {counted or 'none'}" if names else "it is empty"
    asked = "no annotations that otadet reads" if format == "auto" else f"no annotations of format {format}"
    hint = "; its .json files are labelme's: export them as COCO, YOLO or Pascal VOC" if labelme else ""
    return f"{shown(path)}: has {asked}. Looked for: {_LOOKED_FOR}; {there}{hint}"


def _is_labelme(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(2**16)
    except OSError:
        return False
    return b'"shapes"' in start and (b'"imagePath"' in start or b'"flags"' in start)
