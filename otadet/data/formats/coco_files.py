"""Which JSON files of a folder hold COCO instances, of which split, and where their images lie.

A look, not a reading: names of files, whether the lists of a COCO file are in them, and the first file names.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from otadet.data.formats.coco_image_names import by_their_ends, is_in, name_of_url
from otadet.data.formats.folders import is_systems
from otadet.data.formats.layout import ALL, SPLITS, said_split, split_name

_MOST_FILES = 64
"""JSON files of one folder that are looked at: labelme writes one for each picture, and none of them is COCO."""
_MOST_FOLDERS, _DEPTH = 64, 2
"""Subfolders that are looked at, and how far down."""
_LIKELY = re.compile(r"train|val|test|image|annotation|instance|coco|label|result", re.IGNORECASE)
"""In the names of files and folders that are looked at in any case."""
_LOOKED_AT = 8
"""File names of a JSON file by which the folder of its images is found."""
_IMAGES, _CATEGORIES, _BOXES = (
    re.compile(pattern) for pattern in (rb'"images"\s*:\s*\[', rb'"categories"\s*:\s*\[', rb'"bbox"\s*:\s*\[')
)
_FILE_NAME, _URL = (re.compile(rb'"%s"\s*:\s*("(?:[^"\\]|\\.)*")' % key) for key in (b"file_name", b"coco_url"))


@dataclass(frozen=True)
class CocoFile:
    """A JSON file of COCO instances."""

    path: Path
    names: tuple[str, ...]
    """Its first file names of images."""
    split: str
    """What its name, or that of its folder, says: "train", "val", "test", or "all" where they say nothing."""


def coco_files(folder: Path) -> list[CocoFile]:
    """Those in the folder and in the ones below it, sorted by path."""
    found = []
    for inner in (folder, *subfolders(folder)):
        for path in _json_files(inner):
            names = first_file_names(path)
            if names is not None:
                found.append(CocoFile(path, names, split_of(path, folder)))
    return found


def subfolders(folder: Path) -> list[Path]:
    """The folders below, down to `_DEPTH`, sorted by name, each level before the next; of very many those whose names
    are the likeliest."""
    level, found = [folder], []
    for _ in range(_DEPTH):
        level = [inner for outer in level for inner in _likeliest(_folders(outer), _MOST_FOLDERS)]
        found += level
    return _likeliest(found, _MOST_FOLDERS)


def _likeliest(paths: list[Path], most: int) -> list[Path]:
    """Of more than `most` those whose names say a split, or what is in them; in their order."""
    if len(paths) <= most:
        return paths
    places = sorted(range(len(paths)), key=lambda place: (_LIKELY.search(paths[place].name) is None, place))
    return [paths[place] for place in sorted(places[:most])]


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not is_systems(entry.name))
    except OSError:
        return []


def _json_files(folder: Path) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".json"))
    except OSError:
        return []
    return [path for path in _likeliest([folder / name for name in names], _MOST_FILES) if os.path.isfile(path)]


def first_file_names(path: Path) -> tuple[str, ...] | None:
    """The first file names of the images of a COCO file; None for a JSON file that is none."""
    try:
        with open(path, "rb") as file:
            if not (size := os.fstat(file.fileno()).st_size):
                return None
            with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
                # JSON in UTF-16 or 32 has a zero byte among its first ones.
                return _names_in(_utf8(content) if b"\0" in content[:4] else content)
    except (OSError, ValueError):
        return None


def _utf8(content: mmap.mmap) -> bytes:
    text = content[:]
    return text.decode(json.detect_encoding(text), "replace").encode("utf-8", "replace")


def _names_in(content: mmap.mmap | bytes) -> tuple[str, ...] | None:
    images = _IMAGES.search(content)
    if images is None or not (_CATEGORIES.search(content) or _BOXES.search(content)):
        return None
    for pattern in (_FILE_NAME, _URL):
        found = islice(pattern.finditer(content, images.end()), _LOOKED_AT)
        names = [name for match in found if isinstance(name := _string(match[1]), str)]
        if names:
            return tuple(names if pattern is _FILE_NAME else map(name_of_url, names))
    return ()


def _string(text: bytes) -> str | None:
    try:
        return json.loads(text)
    except ValueError:
        return None


def split_of(path: Path, folder: Path) -> str:
    """The split that the words in a file's name name, or else those in the names of its folders below `folder`."""
    for name in (path.stem, *reversed(path.parent.relative_to(folder).parts)):
        if split := said_split(name):
            return split
    return ALL


def image_folder(file: CocoFile, folder: Path, outside: bool) -> Path:
    """The folder in which most of the first images are, of equal ones the likelier; `folder` where none is found.

    That of another split has other images by the same names, where these are numbers: it counts only where no folder
    is called after the file's own split. outside: whether names may lead out of it.
    """
    likely = list(dict.fromkeys([*_likely_folders(file, folder), *subfolders(folder)]))
    likely = [inner for inner in likely if os.path.isdir(inner)]
    splits = [split_of(inner / "_", folder) for inner in likely]
    if file.split in splits and file.split != ALL:
        likely = [inner for inner, split in zip(likely, splits, strict=True) if split in (file.split, ALL)]
    there = [sum(is_in(name, inner, outside) for name in file.names) for inner in likely]
    if not any(there):
        there = [by_their_ends(file.names, inner, outside) for inner in likely]
    return likely[there.index(max(there))] if any(there) else folder


def _likely_folders(file: CocoFile, folder: Path) -> Iterator[Path]:
    own = file.path.parent
    yield own
    # annotations/instances_train2017.json belongs to train2017/.
    words = [
        part for part in re.split(r"[^0-9A-Za-z]+", file.path.stem) if split_name(part.rstrip("0123456789")) in SPLITS
    ]
    for name in dict.fromkeys([*words, *_names_of(file.split)]):
        yield from (folder / name, folder / "images" / name, folder / name / "images")
    yield from (own / "images", folder / "images", folder)


def _names_of(split: str) -> Sequence[str]:
    return ("val", "valid", "validation") if split == "val" else (split,)
