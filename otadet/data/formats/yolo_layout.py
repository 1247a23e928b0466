"""Finds the parts of a YOLO data set in a folder: what describes it, its splits, its class names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from otadet.data.formats.folders import Listings, absolute, has_images, is_image, stem
from otadet.data.formats.layout import ALL, SPLITS, left_out, of_splits, said_split
from otadet.data.formats.text_file import read_bytes, unmarked
from otadet.data.formats.yolo_config import YoloConfig, read_darknet_config, read_names, read_yaml_config
from otadet.data.formats.yolo_files import LABEL_ENDINGS, label_folder, label_of
from otadet.data.formats.yolo_labels import is_label_line
from otadet.data.image_file import shown
from otadet.errors import UserError

_WORDS = (*SPLITS, "valid", "validation")
_PATTERNS = (("images", ""), ("Images", ""), ("", "images"), ("", "Images"), ("", ""))
"""What is above and below the folder that is called as a split."""
_NAMES = ("classes.txt", "obj.names", "_darknet.labels", "labels/classes.txt")
_CONFIGS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "obj.data")
_YAML = (".yaml", ".yml")
_LOOKED_AT = 200
"""Folders, and label files in each, that are looked at before one is taken for one of another format."""
_LISTED_AT_MOST = 2**20


@dataclass(frozen=True)
class Found:
    """A YOLO data set."""

    why: str
    """The file or folder that gave it away."""
    folder: Path
    source: Path
    """What messages name."""
    names: tuple[str, ...] | None
    splits: Mapping[str, tuple[str, ...]]
    """Absolute folders and lists of images per split, or of "all"."""
    bases: tuple[str, ...] = ()


def find_layout(path: Path, *, outside: bool) -> Found | None:
    """What a folder holds, or a file describes; None where it is none. Raises as `find_yolo`."""
    if path.is_file():
        return _described(_config(path, outside))
    listings = Listings()
    config = _config_in(path, listings, outside)
    if config is not None and config.splits:
        return _described(config)
    splits, why = _splits(path, listings)
    if not splits:
        return None
    if config is not None:
        return Found(config.path.name, path, config.path, config.names, splits, config.bases)
    names, names_from = _class_names(path, splits, listings)
    if names_from is None:
        return Found(f"{why} (nothing names its classes)", path, path, names, splits)
    return Found(why, path, names_from, names, splits)


def _described(config: YoloConfig | None) -> Found | None:
    if config is None:
        return None
    missing = "".join(f" (its {split} is not there)" for split in config.missing)
    return Found(config.path.name + missing, config.folder, config.path, config.names, config.splits, config.bases)


def _config(path: Path, outside: bool) -> YoloConfig | None:
    if path.suffix.lower() in _YAML:
        return read_yaml_config(path, outside=outside)
    return read_darknet_config(path, outside=outside) if path.suffix.lower() == ".data" else None


def _config_in(folder: Path, listings: Listings, outside: bool) -> YoloConfig | None:
    """What the file that describes a folder says. One by the usual name must be sound, others may be about anything."""
    files = listings.files(absolute(folder))
    for name in _CONFIGS:
        if name in files and (config := _config(folder / name, outside)) is not None:
            return config
    found: list[YoloConfig] = []
    for name in files:
        if name.lower().endswith((*_YAML, ".data")):
            try:
                config = _config(folder / name, outside)
            except UserError:
                continue
            found += [config] if config is not None else []
    if len(found) > 1:
        listed = ", ".join(shown(config.path.name) for config in found)
        raise UserError(f"{shown(folder)}: {len(found)} files describe YOLO data, {listed}; name the one that is meant")
    return found[0] if found else None


def _splits(path: Path, listings: Listings) -> tuple[dict[str, tuple[str, ...]], str]:
    """The splits of a folder without a description, and what gave them away."""
    folder = absolute(path)
    lists = _by_split({word: os.path.join(folder, f"{word}.txt") for word in _WORDS}, path)
    lists = {split: place for split, place in lists.items() if _lists_images(place)}
    if lists and any(_has_labels(place, folder, listings) for place in (folder,)):
        return {split: (place,) for split, place in lists.items()}, ", ".join(f"{split}.txt" for split in lists)
    for above, below in _PATTERNS:
        outer = os.path.join(folder, above) if above else folder
        places = {name: os.path.join(outer, name, below).rstrip(os.sep) for name in listings.folders(outer)}
        inner = [name for name, place in places.items() if said_split(name) and has_images(place, listings)]
        named = {name: places[name] for name in of_splits(inner)}
        # Only now, as folders without labels may be those of another format, which says which is which.
        if any(_has_labels(place, folder, listings) for place in named.values()):
            found = _by_split(named, path)
            why = ", ".join(os.path.relpath(place, folder) for place in found.values())
            others = [place for name, place in places.items() if name not in named]
            others = [shown(os.path.relpath(one, folder)) for one in others if _has_labels(one, folder, listings)]
            return {split: (place,) for split, place in found.items()}, why + left_out(others)
    for place, why in (
        (os.path.join(folder, "images"), "images and labels"),
        (os.path.join(folder, "Images"), "Images and Labels"),
        (folder, "images with label files"),
    ):
        if os.path.isdir(place) and _has_labels(place, folder, listings):
            deep = [inner for inner in listings.below(place) if said_split(os.path.basename(inner)) and inner != place]
            if place == folder and (deep or _has_config(folder, listings)):
                break
            if deep:
                raise UserError(_too_deep(deep, folder))
            return {ALL: (place,)}, why
    return {}, ""


def _has_config(folder: str, listings: Listings) -> bool:
    """Whether a folder below has a data set of its own, whose classes are others."""
    inner = islice(listings.below(folder), _LOOKED_AT)
    return any(name in listings.files(place) for place in inner if place != folder for name in _CONFIGS)


def _too_deep(deep: Sequence[str], folder: str) -> str:
    """What is said of folders called as splits that lie where none is looked for: a test split would be trained on."""
    named = " and ".join(shown(os.path.relpath(place, folder)) for place in deep[:2])
    return (
        f"{shown(folder)}: {named} are called as splits, but lie too deep; name them in a data.yaml as train, val, test"
    )


def _by_split(candidates: Mapping[str, str], path: Path) -> dict[str, str]:
    """Those that exist, by the name of their split."""
    found: dict[str, str] = {}
    for word, place in candidates.items():
        if not os.path.exists(place):
            continue
        split = said_split(word) or word
        if split in found:
            raise UserError(
                f"{shown(path)}: has both {shown(found[split])} and {shown(place)}; which is {split}? rename the other"
            )
        found[split] = place
    return {split: found[split] for split in SPLITS if split in found}


def _lists_images(path: str) -> bool:
    """Whether the first line of a file names an image."""
    if not os.path.isfile(path) or os.path.getsize(path) > _LISTED_AT_MOST * 64:
        return False
    first = unmarked(read_bytes(path, "list of images"))[0].strip().split(b"\n", 1)[0].strip()
    return is_image(first.decode("utf-8", "replace"))


def _has_labels(place: str, folder: str, listings: Listings) -> bool:
    """Whether the first label file that is not empty begins like one; or whether there is an empty one beside `images`.

    Most images may be background: so label files are looked for that have an image, and not the other way round.
    """
    empty = False
    for inner in islice(listings.below(place), _LOOKED_AT):
        images = {stem(name) for name in listings.files(inner) if is_image(name)}
        for labels in (label_folder(inner, folder), inner) if images else ():
            names = listings.files(labels) if labels is not None else ()
            texts = (name for name in names if name.endswith(LABEL_ENDINGS) and stem(name) in images)
            for name in islice(texts, _LOOKED_AT):
                label = os.path.join(str(labels), name)
                first = unmarked(read_bytes(label, "label file"))[0].strip().split(b"\n", 1)[0]
                if first:
                    return is_label_line(first)
                empty = empty or labels != inner
    return empty


def _class_names(
    path: Path, splits: Mapping[str, tuple[str, ...]], listings: Listings
) -> tuple[tuple[str, ...] | None, Path | None]:
    """The class names, and the file that tells them. Raises `UserError` where two files tell other ones."""
    folders = [absolute(path)]
    for place in (place for places in splits.values() for place in places):
        top = place if os.path.isdir(place) else os.path.dirname(place)
        folders += [top, os.path.dirname(top)]
        for inner in islice(listings.below(top), _LOOKED_AT):
            label = label_of(os.path.join(inner, "classes.jpg"), folders[0], listings)
            folders += [inner, *([os.path.dirname(label)] if label else [])]
    found: tuple[tuple[str, ...] | None, Path | None] = None, None
    for folder in dict.fromkeys(folders):
        for name in _NAMES:
            file = Path(folder, *name.split("/"))
            if not file.is_file():
                continue
            names = read_names(file)
            if found[0] not in (None, names):
                raise UserError(
                    f"{shown(file)}: has other class names than {shown(str(found[1]))}; correct one, or name one of "
                    "the data sets"
                )
            found = (names, file) if found[0] is None else found
    return found
