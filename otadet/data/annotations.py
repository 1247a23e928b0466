"""What an annotation file says, whatever its format: what a reader returns and a `DetectionDataset` is made of.

Flat arrays, because a list of a million Python objects is copied page by page into every loader process as their
reference counts are touched. Shape letters: `S` images, `M` boxes, `F` classes of the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from otadet.data.class_list import SourceClasses
from otadet.data.image_file import shown
from otadet.data.image_names import ImageNames
from otadet.errors import UserError


@dataclass(frozen=True)
class BrokenEntry:
    """An entry of an annotation file that is wrong."""

    file: str
    problem: str
    """In words, beginning with its place in the file: `"line 3: has 4 numbers; ..."`."""

    @classmethod
    def of(cls, path: str | os.PathLike[str], error: Exception) -> BrokenEntry:
        """What a reader that stops at it says of it."""
        return cls(os.fspath(path), str(error).removeprefix(f"{shown(path)}: "))


def note_wrong(path: str | os.PathLike[str], problem: str, broken: list[BrokenEntry] | None) -> None:
    """Add what is wrong with an entry of a file to `broken`, or raise it as a `UserError` where that is None."""
    if broken is None:
        raise UserError(f"{shown(path)}: {problem}") from None
    broken.append(BrokenEntry(os.fspath(path), problem))


@dataclass(frozen=True, eq=False)
class Annotations:
    """Images and their boxes, in the order of the file.

    Raises `ValueError` where a reader contradicts itself.
    """

    source: Path
    """The file or folder that was read: what messages name."""
    image_dir: Path
    """The folder of the images."""
    classes: SourceClasses
    image_ids: np.ndarray
    """(S,) int64, each another."""
    file_names: ImageNames
    """(S,) relative to `image_dir`."""
    image_sizes: np.ndarray
    """(S, 2) int64 height, width in pixels; 0 where the file does not say."""
    image_rows: np.ndarray
    """(M,) int64 row of the image of each box."""
    class_rows: np.ndarray
    """(M,) int64 row of its class in `classes`."""
    boxes: np.ndarray
    """(M, 4) float64 xyxy in pixels, as in the file: not clipped, perhaps degenerate or not finite."""
    areas: np.ndarray
    """(M,) float64 square pixels of the object itself; NaN where the file does not say."""
    ignored: np.ndarray
    """(M,) bool: not an object but a region whose objects are not told apart, such as a crowd."""
    why_no_boxes: str = ""
    """Why the file has no box, in the words of its format; empty where it has some."""
    ignored_hint: str = ""
    """How its format makes an ignored region an object, for those who have no other boxes."""
    dropped: tuple[tuple[str, int], ...] = ()
    """What the reader left out or repaired, in words, and how often: `("polygons turned into their box", 12)`."""
    dropped_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Where the reader was `lenient`: the files that `dropped` counts, by what it says, where that is about files."""
    without_image: tuple[str, ...] = ()
    """Annotation files that are left out, as there is no image for them."""
    unlisted: tuple[str, ...] = ()
    """Classes whose names are made up: of boxes whose class the file does not list, where it was to be read in spite of
    them; and one where it has no class at all."""
    broken: tuple[BrokenEntry, ...] = ()
    """Where the reader was `lenient`: entries that any other reader stops at. What cannot be used of them is left out.
    """
    as_shares: bool = False
    """Whether the file has boxes as shares of their image, so that `boxes` depend on how the image is read."""
    protocol: Literal["coco", "crowdhuman"] = "coco"
    """Whose evaluation is made with these data."""

    def __post_init__(self) -> None:
        images, boxes = len(self.image_ids), len(self.image_rows)
        expected = {
            "file_names": (len(self.file_names), images),
            "image_sizes": (self.image_sizes.shape, (images, 2)),
            "class_rows": (self.class_rows.shape, (boxes,)),
            "boxes": (self.boxes.shape, (boxes, 4)),
            "areas": (self.areas.shape, (boxes,)),
            "ignored": (self.ignored.shape, (boxes,)),
        }
        for name, (found, wanted) in expected.items():
            if found != wanted:
                raise ValueError(f"{self.source}: {name}: {found}, but {wanted} are {images} images and {boxes} boxes")
        for name, rows, limit in (
            ("image_rows", self.image_rows, images),
            ("class_rows", self.class_rows, len(self.classes.ids)),
        ):
            if boxes and not 0 <= rows.min() <= rows.max() < limit:
                raise ValueError(f"{self.source}: {name} are {rows.min()} to {rows.max()}, not 0 to {limit - 1}")

    def of_images(self, kept: np.ndarray) -> Annotations:
        """Only the images of the mask `kept` (S,), and their boxes, sorted by image."""
        rows = np.argsort(self.image_rows, kind="stable")
        rows = rows[kept[self.image_rows[rows]]]
        return replace(
            self,
            image_ids=self.image_ids[kept],
            file_names=self.file_names.kept(kept),
            image_sizes=self.image_sizes[kept],
            image_rows=(np.cumsum(kept) - 1)[self.image_rows[rows]],
            class_rows=self.class_rows[rows],
            boxes=self.boxes[rows],
            areas=self.areas[rows],
            ignored=self.ignored[rows],
        )


def check_image_dir(source: Path, image_dir: Path) -> None:
    """Raise `UserError` where the folder of the images is missing, if possible before annotations are read for long."""
    if not os.path.isdir(image_dir):
        raise UserError(f"{image_dir}: no such folder; the images of {source} are expected there")
