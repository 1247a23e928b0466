"""What a folder of annotated pictures is found to be: a format, and a source of annotations per split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from otadet.data.annotations import Annotations
from otadet.errors import UserError

SPLITS = ("train", "val", "test")
"""The names that splits have here, in the order of their use."""
ALL = "all"
"""The one split of a folder whose files do not say which images are for what."""
_OTHER_NAMES = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}


NOT_LISTED = " (not listed)"
"""Ends the name made up for a class that is not listed, where boxes of such a one are read."""
_NUMBERED = re.compile(r"([^\W\d_]+)[-_. ]?\d*")
_WORD = re.compile(r"[^\W\d_]+")


class Source(Protocol):
    """Where the annotations of one split lie: a frozen dataclass, which can be pickled."""

    def read(self) -> Annotations:
        """All of them. Raises `UserError` naming the file, the entry and the fix."""


def lenient(source: Source) -> Source:
    """The same for whoever looks for faults, where it can be had: its annotations say which entries are `broken`."""
    return replace(source, lenient=True) if hasattr(source, "lenient") else source  # type: ignore[type-var]


@dataclass(frozen=True)
class Undecided:
    """A source that only somebody who knows the folder can choose."""

    problem: str
    """What there is, and how to choose."""

    def read(self) -> Annotations:
        """Raises `UserError` with the problem."""
        raise UserError(self.problem)


@dataclass(frozen=True)
class Layout:
    """A folder that is in a format."""

    format: str
    """"COCO", "YOLO", "VOC" or "CrowdHuman"."""
    why: str
    """The file or folder that gave it away, such as "data.yaml"."""
    splits: Mapping[str, Source]
    """By "train", "val" and "test", those that there are; or only by "all" where the files do not say."""

    def __str__(self) -> str:
        number = len(self.splits)
        return f"{self.format}: {self.why}, {f'{number} splits' if number > 1 else '1 split'}"


def split_name(name: str) -> str:
    """ "train", "val", "test" or "all" for what others call so, such as "valid"; any other name as it is."""
    return _OTHER_NAMES.get(name.lower(), name.lower())


def said_split(name: str) -> str | None:
    """The split that the words of a name say, such as "val" of "val2017"; None where they say none, or several."""
    splits = {split_name(word) for word in _WORD.findall(name)} & {*SPLITS}
    return splits.pop() if len(splits) == 1 else None


def left_out(names: Sequence[str], why: str = ", which names no split") -> str:
    """What is said, behind what gave a layout away, of files or folders that are read for no split."""
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f" (not {names[0]}{more}{why})"


def of_splits(names: Iterable[str]) -> list[str]:
    """Those names of folders or files that are splits': called just so or, of the splits without such a one, with a
    number, such as "val2017"; where there is none of either, those whose words say one."""
    said = {name: split for name in names if (split := said_split(name))}
    exact = [name for name in said if split_name(name) in SPLITS]
    taken = {said[name] for name in exact}
    numbered = [name for name, split in said.items() if split not in taken and plain_split(name)]
    return [name for name in said if name in exact or name in numbered] or list(said)


def plain_split(name: str) -> str | None:
    """The split of a name that is no more than that, perhaps with a number: "val" of "valid" and of "val2017"."""
    found = _NUMBERED.fullmatch(name)
    split = split_name(found[1] if found else name)
    return split if split in SPLITS else None
