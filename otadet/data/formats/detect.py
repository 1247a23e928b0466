"""Finds out which format a folder of annotated pictures is in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from otadet.data.formats.coco import coco_file, find_coco
from otadet.data.formats.crowdhuman import CrowdHumanSplit, find_crowdhuman
from otadet.data.formats.crowdhuman_file import Which
from otadet.data.formats.folders import Listings, absolute, is_image, no_such_folder
from otadet.data.formats.layout import ALL, Layout
from otadet.data.formats.text_file import unmarked
from otadet.data.formats.voc import find_voc
from otadet.data.formats.yolo import find_yolo
from otadet.data.formats.yolo_files import is_other_text
from otadet.data.formats.yolo_labels import is_label_line
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
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_NAMED_AT_MOST = 5
_COUNTED_AT_MOST = 100_000
_FOLDERS_AT_MOST = 20


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
    if not found and (inner := _only_folder(path)) is not None:
        layout = find_data(inner, format, options)
        return replace(layout, why=f"{shown(inner.name)}/{layout.why}")
    if not found:
        raise UserError(_nothing(path, format))
    if len(found) > 1:
        raise UserError(_several(path, found))
    return next(iter(found.values()))


def _only_folder(path: Path) -> Path | None:
    """The one folder in a folder without pictures or annotations of its own, as archives unpack."""
    listings, folder = Listings(), absolute(path)
    folders = [name for name in listings.folders(folder) if name != "__MACOSX"]
    others = [
        name for name in listings.files(folder) if is_image(name) or name.lower().endswith((*FILES, ".xml", ".csv"))
    ]
    return path / folders[0] if len(folders) == 1 and not others else None


def _of_file(path: Path, format: str, options: FindOptions) -> Layout:
    suffix = path.suffix.lower()
    if suffix not in FILES:
        if suffix in _ARCHIVES:
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
    return (
        f"{shown(path)}: has {asked}. Looked for: {_LOOKED_FOR}; {there}{hint or _foreign(path)}"
        f"{_below(path, format) or _lone_label(path)}"
    )


def _foreign(path: Path) -> str:
    """What is there instead, of what people take for such data."""
    for name in Listings().files(absolute(path)):
        suffix = name[name.rfind(".") :].lower()
        if suffix in _ARCHIVES:
            return f"; {shown(name)} is an archive: unpack it"
        if suffix == ".csv":
            return f"; {shown(name)} may have the boxes: export them as COCO, YOLO or Pascal VOC instead of CSV"
        if suffix in (".json", ".xml"):
            start = _start(path / name)
            if suffix == ".xml" and b"<annotations>" in start:
                return f"; {shown(name)} is CVAT's own format: export as COCO, YOLO or Pascal VOC"
            if suffix == ".json" and start.lstrip()[:1] == b"[" and (b'"data"' in start or b'"annotator"' in start):
                return f"; {shown(name)} is Label Studio's own format: export as COCO, YOLO or Pascal VOC"
    return ""


def _lone_label(path: Path) -> str:
    """That there are label files of YOLO, where no image has been found for any."""
    for where, folders, files in os.walk(path):
        folders.sort()
        texts = [name for name in sorted(files) if name.lower().endswith(".txt") and not is_other_text(name)]
        for name in texts[:_NAMED_AT_MOST]:
            if is_label_line(unmarked(_start(Path(where, name)))[0].lstrip().split(b"\n", 1)[0]):
                label = shown(os.path.relpath(Path(where, name), path))
                return (
                    f"; {label} is a label file of YOLO, but has no image: those are expected under the same names, "
                    "beside the label files or in a folder images beside that called labels"
                )
    return ""


def _below(path: Path, format: str) -> str:
    """The folders in it that are data sets, which one may be meant."""
    listings, found = Listings(), []
    for name in listings.folders(absolute(path))[:_FOLDERS_AT_MOST]:
        try:
            layout = find_data(path / name, format)
        except UserError:
            continue
        found.append(f"{shown(path / name)} ({layout.format})")
    if not found:
        return ""
    more = f" and {len(found) - _NAMED_AT_MOST} more" if len(found) > _NAMED_AT_MOST else ""
    return f"; data sets are below it: name one, or several as a DataList: {', '.join(found[:_NAMED_AT_MOST])}{more}"


def _start(path: Path) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(2**16)
    except OSError:
        return b""


def _is_labelme(path: Path) -> bool:
    start = _start(path)
    return b'"shapes"' in start and (b'"imagePath"' in start or b'"flags"' in start)
