"""The files that describe a YOLO data set: `data.yaml`, Darknet's `obj.data`, and lists of class names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otadet.data.formats.folders import absolute, places
from otadet.data.formats.json_file import brief_value
from otadet.data.formats.layout import SPLITS, split_name
from otadet.data.formats.text_file import read_text
from otadet.data.formats.yaml_file import load_yaml
from otadet.data.image_file import shown
from otadet.errors import UserError
from otadet.names import clean_class_names

_CLASSES_AT_MOST = 100_000
_TEXT_AT_MOST = 2**24
_SPLIT_KEYS = (*SPLITS, "valid", "validation")
_KEYS = ("path", "names", "nc", "kpt_shape", "classes", *_SPLIT_KEYS)
_EXPORTED = re.compile(r"(\.\./|\./)?(valid|test)/images")
"""What Roboflow writes for these splits, whether there are such folders or not."""


@dataclass(frozen=True)
class YoloConfig:
    """What such a file says."""

    path: Path
    folder: Path
    """Of the data: that of the file."""
    names: tuple[str, ...]
    """(F,) class names by index."""
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Folders and lists of images per split, absolute, of those that the file names."""
    bases: tuple[str, ...] = ()
    """Absolute folders that the lines of a list may be relative to."""
    missing: tuple[str, ...] = ()
    """Splits that the file names, as exporters do, and that are not there."""


def read_yaml_config(path: Path, *, outside: bool = False) -> YoloConfig | None:
    """What a `data.yaml` says; None for a YAML file about something else.

    outside: whether images may lie out of its folder. Raises `UserError` naming the file for one that is no YAML,
    contradicts itself, or names splits that are not there.
    """
    content = load_yaml(path)
    content = _lower_keys(path, content) if isinstance(content, dict) else {}
    if not ("names" in content or "nc" in content):
        return None
    if content.get("names") is not None and not isinstance(content["names"], list | dict):
        raise UserError(f"{shown(path)}: names is {brief_value(content['names'])}; expected is a list of class names")
    if content.get("kpt_shape") is not None:
        raise UserError(f"{shown(path)}: kpt_shape: its labels are key points; expected are boxes or outlines")
    names = _names(path, content.get("names"), content.get("nc"))
    folder = path.parent
    bases = _bases(path, content.get("path"), outside)
    splits, missing = _splits(path, content, bases, outside)
    return YoloConfig(path, folder, names, splits, bases, missing)


def read_darknet_config(path: Path, *, outside: bool = False) -> YoloConfig | None:
    """What an `obj.data` says, lines `key = value`; None for another file. Raises as `read_yaml_config`."""
    pairs = [line.partition("=") for line in read_text(path, "Darknet .data file", _TEXT_AT_MOST).split("\n")]
    content = _lower_keys(path, {key.strip(): value.strip() for key, equals, value in pairs if equals})
    if "names" not in content or not content.keys() & {*_SPLIT_KEYS}:
        return None
    bases = (absolute(path.parent),)
    where = next((place for place in places(content["names"], bases, bases[0], outside) if os.path.isfile(place)), None)
    if where is None:
        raise UserError(f"{shown(path)}: names: {brief_value(content['names'])}: no such file in its folder")
    names = read_names(Path(where))
    classes = content.get("classes")
    if classes is not None and classes != str(len(names)):
        raise UserError(f"{shown(path)}: classes is {brief_value(classes)}, but {shown(where)} has {len(names)}")
    splits, missing = _splits(path, content, bases, outside)
    return YoloConfig(path, path.parent, names, splits, bases, missing)


def read_names(path: Path) -> tuple[str, ...]:
    """(F,) the class names of a file that has one per line. Raises `UserError` naming the file and the entry."""
    lines = [line.strip() for line in read_text(path, "list of class names", _TEXT_AT_MOST).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return clean_class_names(lines, shown(path))


def _lower_keys(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """With the keys that are read here in lower case, as tools also write `Train` and `Validation`."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        known = key.lower() if key.lower() in _KEYS else key
        if known in found:
            raise UserError(f"{shown(path)}: has the key {known} twice, in upper and in lower case; remove one")
        found[known] = value
    return found


def _names(path: Path, names: Any, nc: Any) -> tuple[str, ...]:
    number = None if nc is None else _whole(path, "nc", nc)
    if number is not None and not 1 <= number <= _CLASSES_AT_MOST:
        raise UserError(f"{shown(path)}: nc is {brief_value(nc)}; expected is 1 to {_CLASSES_AT_MOST:,}")
    if names is None:
        if number is None:
            raise UserError(f"{shown(path)}: names is empty; expected is a list of class names")
        return tuple(f"class {index}" for index in range(number))
    if isinstance(names, dict):
        by_index: dict[int, Any] = {}
        for key, name in names.items():
            index = _whole(path, "a key of names", key)
            if index in by_index:
                raise UserError(f"{shown(path)}: names has the key {index} twice")
            by_index[index] = name
        lacking = next((index for index in range(len(by_index)) if index not in by_index), None)
        if lacking is not None:
            raise UserError(
                f"{shown(path)}: names has {len(by_index)} keys but none is {lacking}; its keys must be the class "
                f"indices 0 to {len(by_index) - 1}, without a gap"
            )
        names = [by_index[index] for index in range(len(by_index))]
    cleaned = clean_class_names(names, shown(path))
    if number is not None and number != len(cleaned):
        raise UserError(f"{shown(path)}: nc is {number}, but names has {len(cleaned)} classes; correct one of them")
    return cleaned


def _whole(path: Path, what: str, value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    raise UserError(f"{shown(path)}: {what} is {brief_value(value)}, not a whole number")


def _bases(path: Path, root: Any, outside: bool) -> tuple[str, ...]:
    """What paths in a `data.yaml` may be relative to: its `path`, where that is a folder here, and its own folder."""
    folder = absolute(path.parent)
    if root is not None and not isinstance(root, str):
        raise UserError(f"{shown(path)}: path is {brief_value(root)}; expected is a folder")
    if not root or "\x00" in root:
        return (folder,)
    found = next((place for place in places(root, (folder,), folder, outside) if os.path.isdir(place)), folder)
    return (folder,) if found == folder else (found, folder)


def _splits(
    path: Path, content: Mapping[str, Any], bases: tuple[str, ...], outside: bool
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The places of each split, and the names of those that exporters name and that are not there."""
    splits: dict[str, tuple[str, ...]] = {}
    missing = []
    for key in _SPLIT_KEYS:
        values = content.get(key)
        values = [values] if isinstance(values, str) else values
        if not values:
            continue
        if not isinstance(values, Sequence) or not all(isinstance(value, str) and value for value in values):
            raise UserError(f"{shown(path)}: {key} is {brief_value(values)}; expected are folders or lists of images")
        if split_name(key) in splits:
            raise UserError(f"{shown(path)}: has both val and {key}; remove one of them")
        found = [_place(value, bases, absolute(path.parent), outside) for value in values]
        lacking = [value for value, place in zip(values, found, strict=True) if place is None]
        if lacking and (key == "test" or all(map(_EXPORTED.fullmatch, values))):
            # Exports name it even where they have none; a test split is not needed for a training.
            missing.append(split_name(key))
        elif lacking:
            raise UserError(
                f"{shown(path)}: {key}: {brief_value(lacking[0])}: no such folder or list in {shown(bases[0])}"
                "; correct it" + ("" if outside else ", or set outside_images true if it lies elsewhere")
            )
        else:
            splits[split_name(key)] = tuple(place for place in found if place is not None)
    return splits, tuple(missing)


def _place(value: str, bases: Sequence[str], folder: str, outside: bool) -> str | None:
    if "\x00" in value:
        return None
    found = (place for place in places(value, bases, folder, outside) if os.path.isdir(place) or os.path.isfile(place))
    return next(found, None)
