"""Finds the parts of a Pascal VOC data set in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from xml.sax.saxutils import unescape

from otadet.data.formats.folders import Listings, absolute, has_images, is_image, stem
from otadet.data.formats.layout import ALL, SPLITS, left_out, of_splits, said_split, split_name
from otadet.data.formats.text_file import read_bytes
from otadet.data.formats.voc_lists import find_lists
from otadet.data.image_file import shown
from otadet.errors import UserError

_XML_FOLDERS = ("Annotations", "annotations", "xml", "xmls", "labels")
_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "imgs", "img")
_LOOKED_AT = 20
_FOLDERS_AT_MOST = 200
"""Below one that may hold the images."""
_START = 2**16
_ROOT = re.compile(rb"<annotation[\s>/]")
_FILE_NAME = re.compile(rb"<filename>([^<]*)</filename>")

Where = tuple[Path, Path, tuple[Path, ...], tuple[Path, ...]]
"""Folder of XML files, folder of images, lists of the split, lists of all splits."""


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
        of_folders, others = _split_folders(path, listings)
        if of_folders:
            why = ", ".join(f"{where[0].relative_to(path)}/*.xml" for where in of_folders.values())
            return Found(why + left_out(others), of_folders)
        return _devkit(path, listings)
    xml_dir, image_dir = pair
    lists, all_lists, other = find_lists(path, listings)
    unused = left_out([shown(file.relative_to(path)) for file in other])
    if lists:
        why = f"ImageSets ({', '.join(lists)}){unused}"
        return Found(why, {split: (*pair, files, all_lists) for split, files in lists.items()})
    inner = _of_splits(xml_dir, listings.folders(absolute(xml_dir)))
    if xml_dir != path and inner:
        splits: dict[str, Where] = {}
        for split, name in inner.items():
            images = next((place for place in (image_dir / name, path / name) if place.is_dir()), image_dir)
            splits[split] = (xml_dir / name, images, (), ())
        unread = [xml_dir / name for name in listings.folders(absolute(xml_dir)) if name not in inner.values()]
        unread = [folder for folder in unread if _xml_files(folder, listings, deep=True)]
        unread += [xml_dir] if _xml_files(xml_dir, listings) else []
        why = f"{xml_dir.name}/{next(iter(inner.values()))}/*.xml"
        return Found(why + left_out([f"{shown(folder.relative_to(path))}/*.xml" for folder in unread]), splits)
    _check_depth(path, xml_dir, listings)
    why = f"{xml_dir.name}/*.xml" if xml_dir != path else "*.xml"
    return Found(why + unused, {ALL: (*pair, (), ())})


def _pair(path: Path, listings: Listings) -> tuple[Path, Path] | None:
    """The folders of XML files and of images in a folder, which may be that itself."""
    folders = listings.folders(absolute(path))
    for xml in _XML_FOLDERS:
        if xml in folders and _xml_files(path / xml, listings, deep=True):
            return path / xml, _image_folder(path, path / xml, listings)[0]
    if _xml_files(path, listings, deep=False):
        return path, _image_folder(path, path, listings)[0]
    # A folder by any other name, if that of its images can be told as well.
    others = [
        path / name
        for name in folders
        if not (name in _IMAGE_FOLDERS or said_split(name) or name == "trainval") and _xml_files(path / name, listings)
    ]
    if len(others) != 1:
        return None
    images, found = _image_folder(path, others[0], listings)
    return (others[0], images) if found and images != others[0] else None


def _deep(folder: Path, listings: Listings) -> tuple[Path, Path] | None:
    """A folder that has XML files beside their images in folders below it."""
    return (folder, folder) if _xml_files(folder, listings, deep=True) and has_images(folder, listings) else None


def _image_folder(path: Path, xml_dir: Path, listings: Listings) -> tuple[Path, int]:
    """The folder in `path` in which most images of the first XML files are, of equal ones the likelier, and how many.

    Where there is none it is the likeliest that there is. Raises `UserError` where nothing tells two folders apart.
    """
    folders = [path / name for name in listings.folders(absolute(path))]
    own = [path] if any(is_image(name) for name in listings.files(absolute(path))) else []
    known = [path / name for name in _IMAGE_FOLDERS if path / name in folders]
    # Beside XML files that lie in `path` itself their images are likelier than in a folder.
    likely = [*([*own, *known] if xml_dir == path else [*known, *own]), xml_dir]
    files = _xml_files(xml_dir, listings, deep=True)
    stems = {stem(os.path.basename(file)) for file in files}
    there = [len(stems & {*map(stem, _images(folder, listings, deep=folder != path))}) for folder in likely]
    if any(there):
        return likely[there.index(max(there))], max(there)
    others = [folder for folder in folders if folder not in likely]
    # Masks may be called as the images are, but for their suffix.
    names = {name for file in files for name in _file_names(file)}
    found = [_images(folder, listings, deep=True) for folder in others]
    scores = [(len(stems & {*map(stem, images)}), len(names & images)) for images in found]
    best = max(scores, default=(0, 0))
    if not best[0]:
        return likely[0], 0
    equal = [folder for folder, score in zip(others, scores, strict=True) if score == best]
    # Those of splits may have the same names.
    if len(equal) > 1 and not all(said_split(folder.name) for folder in equal):
        first, second = (shown(folder.name) for folder in equal[:2])
        raise UserError(
            f"{shown(path)}: the images of {shown(xml_dir.name)} may be those in {first} or in {second}; call the "
            "folder that is meant JPEGImages"
        )
    return equal[0], best[0]


def _images(folder: Path, listings: Listings, deep: bool) -> set[str]:
    """Names of the images in a folder, and in the first ones below it."""
    root = absolute(folder)
    places = islice(listings.below(root), _FOLDERS_AT_MOST) if deep else [root]
    return {name for place in places for name in listings.files(place) if is_image(name)}


def _file_names(xml: str) -> list[str]:
    """What an XML file says that its image is called, without folders."""
    said = _FILE_NAME.findall(read_bytes(xml, "XML file")[:_START])
    return [re.split(r"[/\\]", unescape(name.decode("utf-8", "replace")).strip())[-1] for name in said]


def _check_depth(path: Path, xml_dir: Path, listings: Listings) -> None:
    """Raise `UserError` for folders called as splits where none is looked for: a test split would be trained on."""
    deep = {}
    for place in islice(listings.below(absolute(xml_dir)), _FOLDERS_AT_MOST):
        split = split_name(os.path.basename(place))
        if split in SPLITS and place != absolute(xml_dir):
            deep[split] = shown(os.path.relpath(place, absolute(path)))
    if len(deep) > 1:
        named = " and ".join(list(deep.values())[:2])
        raise UserError(
            f"{shown(path)}: {named} are called as splits, but lie too deep; list the images of each in "
            "ImageSets/Main/train.txt, val.txt and test.txt"
        )


def _split_folders(path: Path, listings: Listings) -> tuple[dict[str, Where], list[str]]:
    """`train`, `valid`, ... with their own XML files, and other folders that have some."""
    named = [name for name in listings.folders(absolute(path)) if said_split(name) or name == "trainval"]
    pairs = {name: pair for name in named if (pair := _pair(path / name, listings) or _deep(path / name, listings))}
    splits = _of_splits(path, list(pairs))
    if not splits:
        return {}, []
    unnamed = [name for name in listings.folders(absolute(path)) if name not in splits.values()]
    others = [
        f"{shown(name)}/*.xml" for name in unnamed if _pair(path / name, listings) or _deep(path / name, listings)
    ]
    return {split: (*pairs[name], (), ()) for split, name in splits.items()}, others


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


def _devkit(path: Path, listings: Listings) -> Found | None:
    """VOCdevkit, which has a folder per year."""
    years = [name for name in listings.folders(absolute(path)) if name.startswith("VOC")]
    found = {name: layout for name in years if (layout := find_layout(path / name)) is not None}
    if len(found) > 1:
        raise UserError(
            f"{shown(path)}: has {len(found)} VOC data sets, {', '.join(found)}; name one, or a DataList of them"
        )
    for name, layout in found.items():
        return Found(f"{name}: {layout.why}", layout.splits)
    return None


def _xml_files(folder: Path, listings: Listings, deep: bool = False) -> list[str]:
    """The first XML files that are annotations, if there is one among the first of all."""
    root = absolute(folder)
    files = (
        os.path.join(place, name)
        for place in (listings.below(root) if deep else [root])
        for name in listings.files(place)
        if name.lower().endswith(".xml")
    )
    return [file for file in islice(files, _LOOKED_AT) if _is_annotation(file)]


def _is_annotation(path: str) -> bool:
    # As bytes, for a damaged file is one all the same: whoever reads it says what is wrong.
    return _ROOT.search(read_bytes(path, "XML file")[:_START].replace(b"\0", b"")) is not None
