"""Names of image files as annotation files have them: checked, and stored without an object per name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath

import numpy as np

FILE_NAME_CODEC = "utf-8", "surrogatepass"
"""Python has the bytes of a file name that are no UTF-8 as surrogates, and so have JSON files."""

MAX_NAME_BYTES = 4096
"""Longest path of most systems."""

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
    """(I,) int64 place after each name in `text`."""

    @classmethod
    def of(cls, names: Sequence[str]) -> ImageNames:
        encoded = [name.encode(*FILE_NAME_CODEC) for name in names]
        lengths = np.array([len(name) for name in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), lengths.cumsum())

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        start = self.ends[row - 1] if row else 0
        return self.text[start : self.ends[row]].tobytes().decode(*FILE_NAME_CODEC)

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))

    def kept(self, mask: np.ndarray) -> ImageNames:
        """Those of the mask (I,)."""
        return self if mask.all() else ImageNames.of([self[row] for row in np.flatnonzero(mask)])
