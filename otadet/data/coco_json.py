"""Reads and validates COCO instance annotations into flat arrays.

Flat, because a list of a million Python objects is copied page by page into every loader worker as their reference
counts are touched. Shape letters: `I` images, `M` annotations.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from otadet.errors import UserError

FILE_NAME_CODEC = "utf-8", "surrogatepass"
"""Python has the bytes of a file name that are no UTF-8 as surrogates, and so have JSON files."""


@dataclass(frozen=True, eq=False)
class CocoTables:
    """What an annotation file says, in its own order except that categories are sorted by id."""

    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]
    image_ids: np.ndarray
    """(I,) int64."""
    file_names: np.ndarray
    """(I,) bytes in `FILE_NAME_CODEC`."""
    image_sizes: np.ndarray
    """(I, 2) int64 height, width; 0 where the file does not say."""
    image_rows: np.ndarray
    """(M,) int64 row of the image of each annotation."""
    category_rows: np.ndarray
    """(M,) int64 row of its category."""
    boxes: np.ndarray
    """(M, 4) float64 x, y, width, height in pixels, as written in the file."""
    areas: np.ndarray
    """(M,) float64 square pixels; NaN where the file does not say."""
    crowd: np.ndarray
    """(M,) bool: the box surrounds a group of objects."""

    def of_images(self, kept: np.ndarray) -> CocoTables:
        """Only the images of the mask `kept` (I,), and their annotations, sorted by image."""
        rows = np.argsort(self.image_rows, kind="stable")
        rows = rows[kept[self.image_rows[rows]]]
        return replace(
            self,
            image_ids=self.image_ids[kept],
            file_names=self.file_names[kept],
            image_sizes=self.image_sizes[kept],
            image_rows=(np.cumsum(kept) - 1)[self.image_rows[rows]],
            category_rows=self.category_rows[rows],
            boxes=self.boxes[rows],
            areas=self.areas[rows],
            crowd=self.crowd[rows],
        )


def read_coco_json(path: str | Path) -> CocoTables:
    """The annotations of a COCO instances file.

    Needed are `images` (id, file_name), `categories` (id, name) and `annotations` (image_id, category_id, bbox);
    everything else may be missing.

    Raises `UserError` naming the file and the entry when it is no such file or contradicts itself.
    """
    path = Path(path)
    content = _load(path)
    images, annotations, categories = (
        _Section(path, name, content) for name in ("images", "annotations", "categories")
    )
    for section in (images, categories):
        if not section.rows:
            raise UserError(f"{path}: its list of {section.name} is empty")
    # Annotation ids are not needed, so they may be missing; equal ones betray files that were badly merged.
    if any("id" in row for row in annotations.rows):
        annotations.unique_ids()

    category_ids = categories.unique_ids()
    names = categories.strings("name")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: two categories are named {name!r}")
    by_id = np.argsort(category_ids)
    image_ids = images.unique_ids()
    sizes = np.stack((images.numbers("height", missing=0), images.numbers("width", missing=0)), axis=1)
    return CocoTables(
        category_ids=tuple(category_ids[by_id].tolist()),
        category_names=tuple(names[row] for row in by_id),
        image_ids=image_ids,
        file_names=np.array([name.encode(*FILE_NAME_CODEC) for name in images.strings("file_name")]),
        image_sizes=np.nan_to_num(sizes).clip(0).astype(np.int64),
        image_rows=annotations.references("image_id", image_ids),
        category_rows=annotations.references("category_id", category_ids[by_id]),
        boxes=annotations.boxes("bbox"),
        areas=annotations.numbers("area", missing=np.nan),
        crowd=annotations.numbers("iscrowd", missing=0) > 0,
    )


def _load(path: Path) -> dict:
    try:
        return json.loads(path.read_bytes(), object_hook=_without_outlines)
    except FileNotFoundError:
        raise UserError(f"{path}: no such annotation file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON, perhaps cut short: {error}") from error


def _without_outlines(entry: dict) -> dict:
    # The bulk of a COCO file; dropping them while parsing saves gigabytes in every process.
    entry.pop("segmentation", None)
    return entry


class _Section:
    """One list of the file, read column by column; every error names the file and the entry."""

    def __init__(self, path: Path, name: str, content: object) -> None:
        rows = content.get(name) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{path}: has no list {name!r} of objects, so it is no COCO instances file")
        self.path, self.name, self.rows = path, name, rows

    def column(self, key: str) -> list:
        for position, row in enumerate(self.rows):
            if key not in row:
                raise self.error(position, f"has no {key!r}")
        return [row[key] for row in self.rows]

    def strings(self, key: str) -> list[str]:
        values = self.column(key)
        for position, value in enumerate(values):
            if not isinstance(value, str) or not value:
                raise self.error(position, f"{key} is {value!r}, not a name")
        return values

    def whole_numbers(self, key: str) -> np.ndarray:
        """(rows,) int64."""
        values = self.column(key)
        for position, value in enumerate(values):
            if type(value) is not int or abs(value) >= 2**63:
                raise self.error(position, f"{key} is {value!r}, not a whole number")
        return np.array(values, dtype=np.int64)

    def unique_ids(self) -> np.ndarray:
        """(rows,) int64."""
        ids = self.whole_numbers("id")
        values, counts = np.unique(ids, return_counts=True)
        if len(values) < len(ids):
            raise UserError(f"{self.path}: {self.name} have the id {values[counts > 1][0]} more than once")
        return ids

    def references(self, key: str, ids: np.ndarray) -> np.ndarray:
        """(rows,) int64 position in `ids` of the id under `key`."""
        wanted, order = self.whole_numbers(key), np.argsort(ids)
        rows = order[np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)]
        unknown = np.flatnonzero(ids[rows] != wanted)
        if len(unknown):
            raise self.error(unknown[0], f"{key} {wanted[unknown[0]]} is not in the file")
        return rows

    def numbers(self, key: str, missing: float) -> np.ndarray:
        """(rows,) float64."""
        values = [row.get(key, missing) for row in self.rows]
        for position, value in enumerate(values):
            if not isinstance(value, int | float | None):
                raise self.error(position, f"{key} is {value!r}, not a number")
        return np.array([missing if value is None else value for value in values], dtype=np.float64)

    def boxes(self, key: str) -> np.ndarray:
        """(rows, 4) float64."""
        values = self.column(key)
        for position, value in enumerate(values):
            if not isinstance(value, list) or len(value) != 4 or not all(isinstance(v, int | float) for v in value):
                raise self.error(position, f"{key} is {value!r}, not four numbers x, y, width, height")
        return np.array(values, dtype=np.float64).reshape(-1, 4)

    def error(self, position: int, problem: str) -> UserError:
        return UserError(f"{self.path}: {self.name}[{position}]: {problem}")
