"""Finds the parts of a Pascal VOC data set in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from otadet.data.formats.folders import Listings, absolute, is_image
from otadet.data.formats.layout import ALL, SPLITS, of_splits, said_split, split_name
from otadet.data.formats.text_file import read_bytes
from otadet.data.image_file import shown
from otadet.errors import UserError

_WORDS = (*SPLITS, "valid", "validation", "trainval")
_XML_FOLDERS = ("Annotations", "annotations", "xml", "xmls", "labels")
_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "imgs", "img")
_LOOKED_AT = 20
_START = 2**16
_ROOT = re.compile(rb"<annotation[\s>/]")

Where = tuple[Path, Path, tuple[Path, ...]]
"""Folder of XML files, folder of images, lists."""


@dataclass(frozen=True)
class Found:
    """A VOC data set."""

    why: str
    """The folder or file that gave it away."""
    splits: Mapping[str, Where]


def find_layout(path: Path) -> Found | None:
    """What a folder holds; None where it is no VOC. Raises as `find_voc`."""
    if not path.is_dir():
        return None
    listings = Listings()
    pair = _pair(path, listings)
    if pair is None:
        of_folders = _split_folders(path, listings)
        if of_folders:
            return Found(", ".join(f"{where[0].relative_to(path)}/*.xml" for where in of_folders.values()), of_folders)
        return _devkit(path, listings)
    xml_dir, image_dir = pair
    lists = _lists(path, listings)
    if lists:
        return Found(f"ImageSets ({', '.join(lists)})", {split: (*pair, (file,)) for split, file in lists.items()})
    inner = _of_splits(xml_dir, listings.folders(absolute(xml_dir)))
    if xml_dir != path and inner:
        images = {name: image_dir / name for name in inner.values()}
        splits: dict[str, Where] = {
            split: (xml_dir / name, images[name] if images[name].is_dir() else image_dir, ())
            for split, name in inner.items()
        }
        return Found(f"{xml_dir.name}/{next(iter(inner.values()))}/*.xml", splits)
    return Found(f"{xml_dir.name}/*.xml" if xml_dir != path else "*.xml", {ALL: (*pair, ())})


def _pair(path: Path, listings: Listings) -> tuple[Path, Path] | None:
    """The folders of XML files and of images in a folder, which may be that itself."""
    folders = listings.folders(absolute(path))
    for xml in _XML_FOLDERS:
        if xml in folders and _has_annotations(path / xml, listings, deep=True):
            images = next((name for name in _IMAGE_FOLDERS if name in folders), None)
            if images is not None:
                return path / xml, path / images
            has_images = any(is_image(name) for name in listings.files(absolute(path)))
            return path / xml, path if has_images else path / xml
    if _has_annotations(path, listings, deep=False):
        images = next((name for name in _IMAGE_FOLDERS if name in folders), None)
        beside = any(is_image(name) for name in listings.files(absolute(path)))
        return path, path if beside or images is None else path / images
    return None


def _split_folders(path: Path, listings: Listings) -> dict[str, Where]:
    """`train`, `valid`, ... with their own XML files."""
    named = [name for name in listings.folders(absolute(path)) if said_split(name) or name == "trainval"]
    pairs = {name: pair for name in named if (pair := _pair(path / name, listings))}
    return {split: (*pairs[name], ()) for split, name in _of_splits(path, list(pairs)).items()}


def _of_splits(path: Path, folders: Sequence[str]) -> dict[str, str]:
    """Split -> the one of the folders in `path` that is called so; `trainval` is for training where there is none."""
    found: dict[str, str] = {}
    for name in of_splits(folders):
        split = said_split(name) or ALL
        if split in found:
            raise UserError(f"{shown(path)}: has both {shown(found[split])} and {shown(name)} for {split}; rename one")
        found[split] = name
    if "trainval" in folders:
        found.setdefault("train", "trainval")
    return {split: found[split] for split in SPLITS if split in found}


def _lists(path: Path, listings: Listings) -> dict[str, Path]:
    """The lists of splits in ImageSets; those of classes, such as cat_train.txt, are passed over."""
    for folder in (path / "ImageSets" / "Main", path / "ImageSets"):
        files = listings.files(absolute(folder))
        found: dict[str, Path] = {}
        for word in _WORDS:
            # Tools write one per split, also of a split that nothing is in.
            if f"{word}.txt" not in files or not os.path.getsize(folder / f"{word}.txt"):
                continue
            split = split_name(word)
            if split in found:
                raise UserError(f"{shown(folder)}: has both {found[split].name} and {word}.txt; which is {split}?")
            found[split] = folder / f"{word}.txt"
        if "trainval" in found:
            both = found.pop("trainval")
            if "train" not in found:
                found = {"train" if found else ALL: both, **found}
        if not found and "default.txt" in files:
            found = {ALL: folder / "default.txt"}
        if found:
            return found
    return {}


def _devkit(path: Path, listings: Listings) -> Found | None:
    """VOCdevkit, which has a folder per year."""
    years = [name for name in listings.folders(absolute(path)) if name.startswith("VOC")]
    found = {name: layout for name in years if (layout := find_layout(path / name)) is not None}
    if len(found) > 1:
        raise UserError(f"{shown(path)}: has {len(found)} VOC data sets, {', '.join(found)}; name one of them")
    for name, layout in found.items():
        return Found(f"{name}: {layout.why}", layout.splits)
    return None


def _has_annotations(folder: Path, listings: Listings, deep: bool) -> bool:
    """Whether one of the first XML files is an annotation."""
    root = absolute(folder)
    files = (
        os.path.join(place, name)
        for place in (listings.below(root) if deep else [root])
        for name in listings.files(place)
        if name.lower().endswith(".xml")
    )
    return any(_is_annotation(file) for file in islice(files, _LOOKED_AT))


def _is_annotation(path: str) -> bool:
    # As bytes, for a damaged file is one all the same: whoever reads it says what is wrong.
    return _ROOT.search(read_bytes(path, "XML file")[:_START].replace(b"\0", b"")) is not None
