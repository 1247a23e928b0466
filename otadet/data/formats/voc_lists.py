"""The lists of ImageSets in Pascal VOC, a text file each: which split they are for, and which images they name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from otadet.data.formats.folders import Listings, absolute, stem
from otadet.data.formats.json_file import brief_value
from otadet.data.formats.layout import ALL, SPLITS, split_name
from otadet.data.formats.text_file import read_text
from otadet.data.image_file import shown
from otadet.errors import UserError

_BOTH = "trainval"
_WHOLE = "default"
"""What CVAT calls the list of everything."""
_NUMBERED = re.compile(r"([a-z]+)[-_. ]?\d+")
_OF_CLASS = re.compile(r".+_([a-z]+?)\d*")


def find_lists(
    path: Path, listings: Listings
) -> tuple[dict[str, tuple[Path, ...]], tuple[Path, ...], tuple[Path, ...]]:
    """The lists of each split in `path`/ImageSets, all that are for one, and those that are for none.

    A list is called as its split is, in upper or lower case (`Train.txt`, `train2012.txt`). Of a split for which only
    classes have lists (`cat_train.txt`, of all images of the split, with a flag each) it is those of all classes.

    Raises `UserError` where two are for the same split.
    """
    for folder in (path / "ImageSets" / "Main", path / "ImageSets"):
        files = [
            folder / name
            # Tools write one per split, also of a split that nothing is in.
            for name in listings.files(absolute(folder))
            if name.lower().endswith(".txt") and os.path.getsize(folder / name)
        ]
        own = {**_by_split(files, _with_a_number), **_by_split(files, _exactly)} or _by_split(files, _whole)
        of_classes = _by_split(files, _of_class)
        found = {**of_classes, **own}
        if found:
            _check_one_each(folder, own)
            used = tuple(file for lists in found.values() for file in lists)
            passed_over = {*used, *(file for lists in of_classes.values() for file in lists)}
            return _without_both(found), used, tuple(file for file in files if file not in passed_over)
        if files:
            return {}, (), tuple(files)
    return {}, (), ()


def _by_split(files: list[Path], split_of: Callable[[str], str | None]) -> dict[str, tuple[Path, ...]]:
    found: dict[str, tuple[Path, ...]] = {}
    for file in files:
        if split := split_of(stem(file.name).lower()):
            found[split] = (*found.get(split, ()), file)
    return found


def _exactly(name: str) -> str | None:
    split = split_name(name)
    return split if split in (*SPLITS, _BOTH) else None


def _with_a_number(name: str) -> str | None:
    found = _NUMBERED.fullmatch(name)
    return None if found is None else _exactly(found[1])


def _whole(name: str) -> str | None:
    return ALL if name == _WHOLE else None


def _of_class(name: str) -> str | None:
    found = _OF_CLASS.fullmatch(name)
    return None if found is None else _whole(found[1]) or _exactly(found[1])


def _check_one_each(folder: Path, own: Mapping[str, tuple[Path, ...]]) -> None:
    for split, files in own.items():
        if len(files) > 1:
            names = " and ".join(file.name for file in files[:2])
            raise UserError(f"{shown(folder)}: has both {names}; which is {split}? rename the other, or remove it")


def _without_both(found: dict[str, tuple[Path, ...]]) -> dict[str, tuple[Path, ...]]:
    """By split, in their order: `trainval` is for training, or everything, where there is no list for training."""
    both = found.pop(_BOTH, ())
    if both and "train" not in found:
        found["train" if found else ALL] = both
    splits = {split: found[split] for split in SPLITS if split in found}
    return splits or {ALL: found[ALL]}


def named_in(path: Path, key_of: Callable[[str], str | None]) -> Iterator[tuple[int, str, str | None]]:
    """The lines of a list that are not empty: number, the name in it, and the key of what is called so.

    A name may be quoted, as CVAT does it where it has spaces, followed by a flag 1, 0 or -1, which says whether the
    image has objects of the list's class, have a suffix, and folders of another machine.

    key_of: the key of a name, without a suffix or with one; None where there is none.
    """
    for number, line in enumerate(read_text(path, "list of images", errors="surrogateescape").split("\n"), start=1):
        line = line.strip().replace("\\", "/")
        if line:
            name = _without_flag(line)
            keys = (key_of(text) for whole in (line, name) for text in _writings(whole))
            yield number, name, next((key for key in keys if key is not None), None)


def check_named(path: Path, number: int, name: str, key: str | None) -> str:
    """The key; raises `UserError` naming the line where there is none."""
    if key is None:
        raise UserError(f"{shown(path)}: line {number}: {brief_value(name)} has no XML file and no image; remove it")
    return key


def _writings(name: str) -> Iterator[str]:
    """What a file may be called here that a list names: itself, and the ends of its path; each without suffix, too."""
    parts = name.split("/")
    for first in range(len(parts)):
        end = "/".join(parts[first:])
        if end:
            yield end
            yield stem(end)


def _without_flag(line: str) -> str:
    """A line of a list less its second column, and less quotes."""
    if line.startswith('"') and '"' in line[1:]:
        return line[1 : line.index('"', 1)]
    name, _, flag = line.rpartition(" ")
    return name.rstrip() if flag in ("1", "0", "-1") and name else line
