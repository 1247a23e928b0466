"""What a writer of a format is given: the splits of a data set, ready to be written. Shape letters: `S` images,
`M` boxes, `C` classes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from otadet.data.formats.folders import is_image, stem
from otadet.data.formats.layout import ALL

# What XML cannot hold, or what ends a line of a list.
_UNFIT = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


@dataclass(frozen=True, eq=False)
class WrittenSplit:
    """One split: boxes that have a size and lie in their image at least in part, sorted by image."""

    names: Sequence[str]
    """(S,) of the image files as they are written, without folders; no two differ by their suffix alone."""
    image_ids: np.ndarray
    """(S,) int64."""
    sizes: np.ndarray
    """(S, 2) int64 height, width in pixels."""
    offsets: np.ndarray
    """(S + 1,) int64 where the boxes of each image begin, and those of the last end."""
    labels: np.ndarray
    """(M,) int64 into the class names."""
    boxes: np.ndarray
    """(M, 4) float64 xyxy in pixels, not clipped."""
    areas: np.ndarray
    """(M,) float64 square pixels of the objects themselves; NaN where they are not known."""
    ignored: np.ndarray
    """(M,) bool."""

    def rows(self) -> Iterator[tuple[str, slice]]:
        """The name of each image, and the rows of its boxes."""
        for name, start, end in zip(self.names, self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            yield name, slice(start, end)


@dataclass(frozen=True)
class WrittenClasses:
    """The classes of all splits."""

    names: tuple[str, ...]
    """(C,)."""
    ids: tuple[int, ...]
    """(C,) for formats that have ids."""


@dataclass(frozen=True)
class Writer:
    """A format that data can be written in."""

    image_dir: Callable[[str], str]
    """Split -> folder of its images, below that of the data."""
    write: Callable[[Path, Mapping[str, WrittenSplit], WrittenClasses], Counter[str]]
    """Writes everything but the images into a folder; returns what the format cannot hold, in words, and how often."""


def below(folder: str, split: str) -> str:
    """The folder of a split in `folder`, which is that itself where there are no splits."""
    return folder if split == ALL else f"{folder}/{split}"


def number(value: float, digits: int) -> str:
    """A number as a text of at most so many decimals, without those that are 0."""
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


class FileNames:
    """Gives image files names without folders, each another, also if the suffix does not count."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._number = 1

    def name(self, name: str, suffix: Callable[[], str]) -> str:
        """A name for the file that is called `name` in its source: its last part if that is free.

        suffix: of the format of its content, for one that has none by which it is known as an image.
        """
        parts = [_UNFIT.sub("_", part) for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
        last = parts[-1] if is_image(parts[-1]) else parts[-1] + suffix()
        end = os.path.splitext(last)[1]
        for text in self._proposals(stem(last), parts[:-1]):
            # Some file systems, and some tools, take upper and lower case for the same; hidden files are passed over.
            key = text.lstrip(".").casefold()
            if key and key not in self._taken:
                self._taken.add(key)
                return text.lstrip(".") + end
        raise AssertionError("there is always another number")

    def _proposals(self, last: str, folders: Sequence[str]) -> Iterator[str]:
        yield last
        yield "_".join((*folders, last))
        for _ in count():
            self._number += 1
            yield f"{last}_{self._number}"
