"""Finds out which format a folder of annotated pictures is in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from otadet.data.formats.coco import CocoSource, coco_file, find_coco
from otadet.data.formats.crowdhuman import CrowdHumanSplit, find_crowdhuman
from otadet.data.formats.crowdhuman_file import Which
from otadet.data.formats.folders import Listings, absolute, folder_of, has_images, is_image, no_such_folder
from otadet.data.formats.layout import ALL, Layout, said_split
from otadet.data.formats.other_data import ARCHIVES, foreign_data, lone_label, what_is_there
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
        source = CrowdHumanSplit(path, folder_of(path), options.boxes)
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
_PARTS_OF_ONE = (
    "annotations",
    "annotation",
    "annots",
    "ann",
    "xml",
    "xmls",
    "images",
    "jpegimages",
    "labels",
    "imagesets",
)
"""What people call folders of a data set that have only annotations, or only images."""
_NAMED_AT_MOST = 5
_FOLDERS_AT_MOST = 20


def find_data(path: str | Path, format: str = "auto", options: FindOptions = FindOptions()) -> Layout:
    """The format of the folder or the file at `path`, and its splits.

    Args:
        path: a folder, or the one file that describes the data; `~` is the home folder.
        format: "auto", or the one of `FINDERS` that it is in.
        options: handed on to the sources.

    Raises `UserError` for a folder that is in none or in several, saying what lies there and how to choose.
    """
    path = Path(os.path.expanduser(path))
    if format not in ("auto", *FINDERS):
        raise UserError(f"format {format}: choose auto or {' or '.join(FINDERS)}")
    if os.path.isfile(path):
        return _of_file(path, format, options)
    if not os.path.isdir(path):
        raise UserError(no_such_folder(path))
    found = _found(path, format, options)
    if not found and (inner := _only_folder(path)) is not None:
        layout = find_data(inner, format, options)
        return replace(layout, why=f"{shown(inner.name)}/{layout.why}")
    if not found:
        raise UserError(_nothing(path, format))
    if len(found) > 1:
        raise UserError(_several(path, found))
    layout = next(iter(found.values()))
    if beside := _beside(path, layout, format):
        raise UserError(f"{shown(path)}: {beside}")
    if (above := _above(path, format, options)) and not has_images(path, Listings()):
        raise UserError(f"{shown(path)}: is {layout.format} ({layout.why}), but has no images{above}")
    return layout


def _found(path: Path, format: str, options: FindOptions) -> dict[str, Layout]:
    """By their word, the formats that a folder may be in."""
    tried = FINDERS if format == "auto" else {format: FINDERS[format]}
    return {name: layout for name, find in tried.items() if (layout := find(path, options)) is not None}


def _above(path: Path, format: str, options: FindOptions = FindOptions()) -> str:
    """That the folder around one that is called as a part of a data set is the data set."""
    above = Path(os.path.abspath(path)).parent
    if path.name.lower() not in _PARTS_OF_ONE:
        return ""
    try:
        found = [layout.format for layout in _found(above, format, options).values()]
    except UserError:
        return ""
    return f"; the folder above is a data set, {shown(above)} ({' or '.join(found)}): name that" if found else ""


def _only_folder(path: Path) -> Path | None:
    """The one folder in a folder without pictures or annotations of its own, as archives unpack."""
    listings, folder = Listings(), absolute(path)
    folders = listings.folders(folder)
    others = [
        name for name in listings.files(folder) if is_image(name) or name.lower().endswith((*FILES, ".xml", ".csv"))
    ]
    return path / folders[0] if len(folders) == 1 and not others else None


def _of_file(path: Path, format: str, options: FindOptions) -> Layout:
    suffix = path.suffix.lower()
    if suffix not in FILES:
        if suffix in ARCHIVES:
            raise UserError(f"{shown(path)}: is an archive; unpack it, and name the folder")
        raise UserError(f"{shown(path)}: is no annotation file, which end with {', '.join(FILES)}; name its folder")
    known = FILES[suffix]
    if format not in ("auto", known):
        raise UserError(f"{shown(path)}: is a file of format {known}, but data.format is {format}; set it to auto")
    if not os.path.getsize(path):
        raise UserError(f"{shown(path)}: is an empty file; name the folder of the data, or another file")
    layout = FINDERS[known](path, options)
    if layout is None:
        raise UserError(f"{shown(path)}: describes no {known} data; name their folder, and it is said what is there")
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
    asked = "no annotations that otadet reads" if format == "auto" else f"no annotations of format {format}"
    return (
        f"{shown(path)}: has {asked}. Looked for: {_LOOKED_FOR}; {what_is_there(path)}{foreign_data(path)}"
        f"{_as_another(path, format) or _above(path, format) or _below(path, format) or lone_label(path)}"
    )


def _as_another(path: Path, format: str) -> str:
    """Which format the folder is in, where one was named that it is not in."""
    try:
        found = {} if format == "auto" else _found(path, "auto", FindOptions())
    except UserError:
        return ""
    what = " or ".join(f"{layout.format} ({layout.why})" for layout in found.values())
    return f"; it is {what}: name that format, {' or '.join(found)}" if found else ""


def _below(path: Path, format: str) -> str:
    """The folders in it that are data sets, which one may be meant."""
    found = _data_sets(path, format)
    return f"; data sets are below it: name one, or several as a DataList: {_some(found)}" if found else ""


def _beside(path: Path, layout: Layout, format: str) -> str:
    """That beside the one folder in `path` in which a data set has been found there are others."""
    files = [source.path for source in layout.splits.values() if isinstance(source, CocoSource | CrowdHumanSplit)]
    tops = {file.relative_to(path).parts[0] for file in files}
    if len(tops) != 1 or files[0].parent == path or any(map(_is_part, tops)):
        return ""
    found = _data_sets(path, format, skipped=_is_part)
    return f"has several data sets: name one, or several as a DataList: {_some(found)}" if len(found) > 1 else ""


def _is_part(name: str) -> bool:
    """Whether a folder is called as one of a data set."""
    return name.lower() in _PARTS_OF_ONE or said_split(name) is not None


def _data_sets(path: Path, format: str, skipped: Callable[[str], bool] = lambda name: False) -> list[str]:
    """The folders in it that are data sets, and of which format."""
    names = [name for name in Listings().folders(absolute(path))[:_FOLDERS_AT_MOST] if not skipped(name)]
    return [f"{shown(path / name)} ({formats})" for name in names if (formats := _formats_in(path / name, format))]


def _formats_in(path: Path, format: str) -> str:
    """Those that a folder may be in, without the search for what to say where it is in none."""
    try:
        found = _found(path, format, FindOptions())
    except UserError:
        return ""
    if not found and (inner := _only_folder(path)) is not None:
        return _formats_in(inner, format)
    return " or ".join(layout.format for layout in found.values())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return f"{', '.join(names[:_NAMED_AT_MOST])}{more}"
