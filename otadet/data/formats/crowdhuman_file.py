"""The lines of a CrowdHuman file, `.odgt`: a JSON object per image. Shape letters: `S` images, `M` boxes."""

from __future__ import annotations

import json
import os
import re
import stat
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from otadet.data.annotations import BrokenEntry, note_wrong
from otadet.data.formats.json_file import brief_value
from otadet.data.image_file import open_handle, shown
from otadet.data.image_names import name_problem
from otadet.errors import UserError, reason_of

Which = Literal["full", "visible", "head"]
"""A person's whole body, also where it is hidden; the part of it that is seen; the head."""
KEYS = {"full": "fbox", "visible": "vbox", "head": "hbox"}
_LONGEST_LINE = 2**26
_ID = re.compile(rb'"ID"\s*:\s*"([^"\\]+)"')


@dataclass
class CrowdHumanLines:
    """What the lines say."""

    which: Which
    ids: dict[str, int] = field(default_factory=dict)
    """(S,) ID of each image -> its line."""
    rows: array = field(default_factory=lambda: array("q"))
    """(M,) place of the box's image in `ids`."""
    corners: array = field(default_factory=lambda: array("d"))
    """(M * 4,) x, y, width, height in pixels."""
    ignored: array = field(default_factory=lambda: array("b"))
    """(M,) 1 for a region whose persons are not told apart, or do not count."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What was left out, or taken otherwise, and how often."""

    def add(self, line: bytes, number: int) -> None:
        """A line; a `ValueError` says what is wrong with it, or its entries."""
        name, boxes = self._opened(line)
        row, wrong = len(self.ids), []
        self.ids[name] = number
        for place, box in enumerate(boxes):
            try:
                self._add_box(box, row)
            except ValueError as error:
                wrong.append(f"gtboxes[{place}]: {error}")
        if wrong:
            raise ValueError(*wrong)

    def add_background(self, line: bytes, number: int) -> None:
        """The image of a line that is wrong, where its ID can be made out."""
        said = _ID.search(line)
        name = said[1].decode("utf-8", "replace") if said else ""
        if name and not name_problem(name, outside=False):
            self.ids.setdefault(name, number)

    def _opened(self, line: bytes) -> tuple[str, list]:
        """ID and gtboxes of a line."""
        try:
            entry = json.loads(line.decode("utf-8"), object_pairs_hook=_entry)
        except RecursionError:
            raise ValueError("its lists and objects are nested too deeply") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"is not in UTF-8 ({error.reason} at byte {error.start}); save it in UTF-8") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"not valid JSON, perhaps cut short: {error.msg} at column {error.colno}") from None
        if not isinstance(entry, dict):
            raise ValueError(f"is {brief_value(entry)}; expected is an object with ID and gtboxes")
        name = entry.get("ID")
        if not isinstance(name, str) or not name:
            raise ValueError(f"ID is {brief_value(name)}, not a name")
        if problem := name_problem(name, outside=False):
            raise ValueError(f"ID {brief_value(name)} {problem}")
        if name in self.ids:
            raise ValueError(f"has the ID {brief_value(name)} of line {self.ids[name]} again")
        boxes = entry.get("gtboxes")
        if boxes is None:
            self.dropped["images without gtboxes, taken as background"] += 1
            boxes = []
        if not isinstance(boxes, list):
            raise ValueError(f"gtboxes is {brief_value(boxes)}, not a list")
        return name, boxes

    def _add_box(self, box: Any, row: int) -> None:
        if not isinstance(box, dict):
            raise ValueError(f"is {brief_value(box)}; expected is an object with tag and {KEYS[self.which]}")
        tag = box.get("tag")
        if not isinstance(tag, str):
            raise ValueError(f"tag is {brief_value(tag)}; expected is person or mask")
        ignored = tag != "person" or _flag(box, "extra")
        if self.which == "head":
            ignored = ignored or _flag(box, "head_attr")
        # Persons anywhere in a mask are not told apart, nor are their heads.
        key = KEYS[self.which] if tag == "person" or "fbox" not in box else "fbox"
        if key not in box:
            self.dropped[f"entries without {key} left out"] += 1
            return
        corners = box[key]
        if type(corners) is not list or len(corners) != 4 or not all(type(side) in (int, float) for side in corners):
            raise ValueError(f"{key} is {brief_value(corners)}, not four numbers x, y, width, height")
        try:
            corners = [float(side) for side in corners]
        except OverflowError:
            raise ValueError(f"{key} is {brief_value(corners)}, too large a number") from None
        if tag not in ("person", "mask"):
            self.dropped["entries neither person nor mask, taken as ignored regions"] += 1
        self.corners.extend(corners)
        self.rows.append(row)
        self.ignored.append(ignored)


def read_lines(path: Path, which: Which, broken: list[BrokenEntry] | None = None) -> CrowdHumanLines:
    """All lines of a file. Raises `UserError` naming the file, the line and the entry.

    broken: where lines and entries that are wrong are left out, and said here; None: they are errors.
    """
    found = CrowdHumanLines(which)
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        try:
            found.add(line, number)
        except ValueError as error:
            for problem in error.args:
                note_wrong(path, f"line {number}: {problem}", broken)
            found.add_background(line, number)
    return found


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, without its byte order mark; raises `UserError` for one that cannot be read."""
    try:
        with open(open_handle(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{shown(path)}: is a folder, a pipe or a device, not an annotation file")
            first = file.readline(_LONGEST_LINE).removeprefix(b"\xef\xbb\xbf")
            number = 1
            while first:
                if len(first) == _LONGEST_LINE:
                    raise UserError(f"{shown(path)}: line {number}: has {_LONGEST_LINE:,} bytes or more, too many")
                yield first
                first = file.readline(_LONGEST_LINE)
                number += 1
    except FileNotFoundError:
        raise UserError(f"{shown(path)}: no such annotation file") from None
    except IsADirectoryError:
        raise UserError(f"{shown(path)}: is a folder, a pipe or a device, not an annotation file") from None
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read: {reason_of(error)}") from error


def _entry(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        twice = next(key for key, number in Counter(key for key, _ in pairs).items() if number > 1)
        raise ValueError(f"an object in it has the key {brief_value(twice)} twice")
    return entry


def _flag(box: dict[str, Any], key: str) -> bool:
    """Whether `ignore` in an entry's `extra` or `head_attr` is 1; these may be missing."""
    said = box.get(key)
    if said is None:
        return False
    if not isinstance(said, dict):
        raise ValueError(f"{key} is {brief_value(said)}, not an object")
    ignore = said.get("ignore", 0)
    if not isinstance(ignore, int | float):
        raise ValueError(f"{key}: ignore is {brief_value(ignore)}; expected is 0 or 1")
    return ignore != 0
