"""Names of image files as annotation files have them: checked, stored without an object per name, and found in a folder
where the file is named alike, but not the same."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import overload
from unicodedata import normalize
from urllib.parse import unquote

import numpy as np

from otadet.data.image_file import shown
from otadet.data.images import IMAGE_SUFFIXES

FILE_NAME_CODEC = "utf-8", "surrogatepass"
"""Python has the bytes of a file name that are no UTF-8 as surrogates, and so have JSON files."""

MAX_NAME_BYTES = 4096
"""Longest path of most systems."""

IS_THERE = " is there, the same name "
"""What a hint has after the name of the file that it proposes."""
_MOST_FILES = 1_000_000

# Most names have none of these, and need no closer look.
_SUSPICIOUS = re.compile("\\.\\.|[/\\\\:\x00\ud800-\udfff]")
# Surrogates that stand for no byte of a name, so that no file can have them.
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def name_problem(name: str, outside: bool) -> str | None:
    """What is wrong with a `file_name`, or None.

    outside: whether it may be absolute or lead out of the image folder, which no name may otherwise, in the writing of
    any system: annotation files come from anywhere, and what they name is opened and drawn. Links inside the folder are
    the user's own, and are followed.
    """
    if len(name) > MAX_NAME_BYTES or len(name.encode(*FILE_NAME_CODEC)) > MAX_NAME_BYTES:
        return f"has {len(name)} characters; no file name has more than {MAX_NAME_BYTES} bytes"
    if not _SUSPICIOUS.search(name):
        return None
    if "\x00" in name:
        return "has a NUL in it, which no file name has"
    if _NO_BYTE.search(name):
        return "has half a character in it (a lone surrogate), which no file name has"
    if outside:
        return None
    windows = PureWindowsPath(name)
    if name.startswith("/") or windows.root or (os.name == "nt" and windows.drive):
        return "is absolute; write it relative to the image folder, or set outside_images true"
    if ".." in re.split(r"[/\\]", name):
        return "leads out of the image folder; correct it, or set outside_images true"
    return None


@dataclass(frozen=True, eq=False)
class ImageNames(Sequence[str]):
    """`I` names in two arrays, which loader workers share without copying them page by page."""

    text: np.ndarray
    """uint8, all names one after the other in `FILE_NAME_CODEC`."""
    ends: np.ndarray
    """(S,) int64 place after each name in `text`."""

    @classmethod
    def of(cls, names: Sequence[str]) -> ImageNames:
        encoded = [name.encode(*FILE_NAME_CODEC) for name in names]
        lengths = np.array([len(name) for name in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), lengths.cumsum())

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        start = self.ends[row - 1] if row else 0
        return self.text[start : self.ends[row]].tobytes().decode(*FILE_NAME_CODEC)

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def kept(self, mask: np.ndarray) -> ImageNames:
        """Those of the mask (S,)."""
        return self if mask.all() else ImageNames.of([self[row] for row in np.flatnonzero(mask).tolist()])


class SimilarNames:
    """The files below a folder by the writing that names have in common.

    Percent signs are resolved, backslashes are slashes, accents are one character with their letter, upper case is
    lower case; then folders do not count, then suffixes of images. The folder is listed when the first hint is asked
    for; links to folders are not followed.
    """

    def __init__(self, folder: Path, *, deep: bool = True) -> None:
        """deep: look into the folders below as well."""
        self._folder, self._deep = folder, deep
        self._by_path: dict[str, list[str]] | None = None
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}

    def hint(self, name: str) -> str:
        """`"; FILE is there, ..."` for the one file that may be meant by `name`, relative to the folder, or nothing."""
        if self._by_path is None:
            self._by_path = self._listed()
        key = _key(name)
        last = key.rsplit("/", 1)[-1]
        for files, difference in (
            (self._by_path.get(key), "in another writing"),
            (self._by_name.get(last), "in another folder"),
            (self._by_stem.get(os.path.splitext(last)[0]), "but for its suffix"),
            (self._by_stem.get(last), "but for its suffix"),
        ):
            # A link that leads nowhere is called as it should be.
            if files and len(files) == 1 and files[0] != name:
                return f"; {shown(files[0])}{IS_THERE}{difference}: correct {_ascii(name)}, or the file's name"
        return ""

    def _listed(self) -> dict[str, list[str]]:
        by_path: dict[str, list[str]] = {}
        listed = 0
        for where, folders, names in os.walk(self._folder):
            if not self._deep:
                folders.clear()
            for name in names:
                file = os.path.relpath(os.path.join(where, name), self._folder)
                by_path.setdefault(_key(file), []).append(file)
                self._by_name.setdefault(_key(name), []).append(file)
                if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                    self._by_stem.setdefault(os.path.splitext(_key(name))[0], []).append(file)
            listed += len(names)
            if listed > _MOST_FILES:
                break
        return by_path


def _key(name: str) -> str:
    plain = unquote(name, errors="surrogateescape").replace("\\", "/")
    parts = [part for part in normalize("NFC", plain).split("/") if part not in ("", ".")]
    return "/".join(parts).casefold()


def _ascii(name: str) -> str:
    # Accents as one or as two code points look alike; as escapes they do not.
    return ascii(name) if len(name) <= 100 else ascii(name[:100]) + "..."
