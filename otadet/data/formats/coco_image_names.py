"""The file names of a COCO file, as they are called here: they may have been written on another machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from otadet.data.formats.json_file import brief_value
from otadet.data.formats.json_section import Section
from otadet.data.image_names import name_problem


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
    for position, name in enumerate(found.names):
        problem = name_problem(name, outside)
        if problem:
            end = _by_its_end(name, folder)
            if end is None or (elsewhere.setdefault(end, position) != position and not again):
                raise images.error(position, f"file_name {brief_value(name)} {problem}")
            found.names[position] = end
            found.ends += 1
        elif "\\" in name and (there := _with_slashes(name, folder)) != name:
            found.names[position] = there
            found.backslashes += 1
    return found


def is_in(name: str, folder: Path, outside: bool) -> bool:
    """Whether an image that is called so in a COCO file is in the folder."""
    if name_problem(name, outside) is not None:
        return _by_its_end(name, folder) is not None
    return os.path.isfile(folder / _with_slashes(name, folder))


def _with_slashes(name: str, folder: Path) -> str:
    """A name that was written on Windows, where a file in the folder is called so with slashes; else as it is."""
    slashes = name.replace("\\", "/")
    return (
        slashes if slashes != name and not os.path.isfile(folder / name) and os.path.isfile(folder / slashes) else name
    )


def _by_its_end(name: str, folder: Path) -> str | None:
    """The longest end of a path that is a file in the folder."""
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    try:
        return next((end for end in ends if os.path.isfile(folder / end)), None)
    except (ValueError, OSError):
        return None
