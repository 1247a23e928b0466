"""The file names of a COCO file, as they are called here: they may have been written on another machine."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from otadet.data.formats.folders import absolute, path_ends
from otadet.data.formats.json_file import brief_value
from otadet.data.formats.json_section import Section
from otadet.data.image_names import name_problem

_FIRST = 8
"""Names by which it is found out what all have in common."""


@dataclass
class FileNames:
    """Those of a file's images, as they are called here."""

    names: list[str]
    backslashes: int = 0
    """How many were written on Windows and are those of files here with slashes."""
    ends: int = 0
    """How many had folders of another machine, and are found by the end of their path."""


def file_names(images: Section, folder: Path, outside: bool, *, again: bool = False) -> FileNames:
    """The names of the images, relative to the folder.

    Args:
        images: the list of them.
        folder: the one that they are in.
        outside: whether they may be absolute or lead out of it.
        again: whether two may have a file as the end of their path.

    Raises `UserError` naming the entry that leads out of it, unless the end of its path is a file in the folder.
    """
    found = FileNames(images.strings("file_name"))
    elsewhere: dict[str, int] = {}
    foreign = _foreign_folders(found.names, folder, outside)
    for position, name in enumerate(found.names):
        problem = name_problem(name, outside)
        end = _by_its_end(name, folder) if problem else _without(name, foreign, folder) if foreign else None
        is_free = end is not None and (again or elsewhere.setdefault(end, position) == position)
        if end is not None and is_free:
            found.names[position] = end
            found.ends += 1
        elif problem:
            raise images.error(position, f"file_name {brief_value(name)} {problem}")
        elif "\\" in name and (there := _with_slashes(name, folder)) != name:
            found.names[position] = there
            found.backslashes += 1
    return found


def name_of_url(url: str) -> str:
    """The file name of an image that has only a `coco_url`, as in LVIS: its folder and its name."""
    return "/".join(url.rsplit("/", 2)[1:]) or url


def is_in(name: str, folder: Path, outside: bool) -> bool:
    """Whether an image that is called so in a COCO file is in the folder."""
    if name_problem(name, outside) is not None:
        return _by_its_end(name, folder) is not None
    return os.path.isfile(folder / _with_slashes(name, folder))


def by_their_ends(names: Sequence[str], folder: Path, outside: bool) -> int:
    """How many of the first names of a COCO file are in the folder without folders of another machine."""
    foreign = _foreign_folders(names, folder, outside)
    # Of two that end alike one at most is meant.
    return len({_without(name, foreign, folder) for name in names[:_FIRST]} - {None}) if foreign else 0


def _foreign_folders(names: Sequence[str], folder: Path, outside: bool) -> int:
    """How many folders at the beginning of all names are those of another machine.

    They are the same for all, as a name may have an image of another split as its end: 0 where one of the first names
    is a file as it is written.
    """
    first = [name for name in names[:_FIRST] if name_problem(name, outside) is None]
    if any(is_in(name, folder, outside) for name in first):
        return 0
    depth = min((len(_parts(name)) for name in first), default=0)
    return next((skip for skip in range(1, depth) if any(_without(name, skip, folder) for name in first)), 0)


def _without(name: str, skip: int, folder: Path) -> str | None:
    """A path less its first folders, if that is a file in the folder."""
    end = next(islice(path_ends(_parts(name), absolute(folder)), skip, None), ())
    return "/".join(end) if end and os.path.isfile(folder.joinpath(*end)) else None


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]


def _with_slashes(name: str, folder: Path) -> str:
    """A name that was written on Windows, where a file in the folder is called so with slashes; else as it is."""
    slashes = name.replace("\\", "/")
    return (
        slashes if slashes != name and not os.path.isfile(folder / name) and os.path.isfile(folder / slashes) else name
    )


def _by_its_end(name: str, folder: Path) -> str | None:
    """The longest end of a path that is a file in the folder."""
    ends = ("/".join(end) for end in path_ends(_parts(name), absolute(folder)))
    try:
        return next((end for end in ends if os.path.isfile(folder / end)), None)
    except (ValueError, OSError):
        return None
