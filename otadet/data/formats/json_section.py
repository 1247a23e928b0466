"""A list of objects in a JSON file, read column by column into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from otadet.data.formats.json_file import brief_value
from otadet.data.image_file import shown
from otadet.errors import UserError

TWICE = "\0twice"
"""The key of an object that has another of its keys twice, which stands there: no key of a file."""
MAX_SIDE = 2**31 - 1
"""Pixels of the largest width or height that an annotation file may state."""


class Section:
    """One list of the file, read column by column; every error names the file and the entry."""

    def __init__(self, path: Path, name: str, content: object, first: int = 0) -> None:
        """first: the place in the file of the first entry, of a part of the list."""
        rows = content.get(name) if isinstance(content, dict) else None
        if not isinstance(rows, list):
            raise UserError(f"{shown(path)}: has no list {name!r} of objects, so it is no COCO instances file")
        self.path, self.name, self.rows = path, name, rows
        self.places: Sequence[int] = range(first, first + len(rows))
        """(rows,) of the entries in the file."""
        for position, row in enumerate(rows):
            if not isinstance(row, dict) or TWICE in row:
                raise self.error(position, what_is_wrong_with(row))

    def of(self, positions: Sequence[int]) -> Section:
        """The entries at these positions alone."""
        part = Section(self.path, self.name, {self.name: [self.rows[position] for position in positions]})
        part.places = [self.places[position] for position in positions]
        return part

    def column(self, key: str) -> list:
        """(rows,) the values of a key. Raises `UserError` naming the first entry that lacks it."""
        try:
            return [row[key] for row in self.rows]
        except KeyError:
            position = next(position for position, row in enumerate(self.rows) if key not in row)
            raise self.error(position, f"has no {key!r}") from None

    def strings(self, key: str) -> list[str]:
        """(rows,) texts, none of them empty."""
        values = self.column(key)
        for position, value in enumerate(values):
            if not isinstance(value, str) or not value:
                raise self.error(position, f"{key} is {brief_value(value)}, not a name")
        return values

    def whole_numbers(self, key: str) -> np.ndarray:
        """(rows,) int64."""
        values = self.column(key)
        if set(map(type, values)) == {int} and min(values) > -(2**63) and max(values) < 2**63:
            return np.array(values, dtype=np.int64)
        for position, value in enumerate(values):
            if type(value) is not int:
                raise self.error(position, f"{key} is {brief_value(value)}, not a whole number{_as_whole(value)}")
            if abs(value) >= 2**63:
                raise self.error(position, f"{key} is {brief_value(value)}, beyond the 64-bit numbers that ids may be")
        return np.array(values, dtype=np.int64)

    def unique_ids(self) -> np.ndarray:
        """(rows,) int64."""
        ids = self.whole_numbers("id")
        check_unique(self, ids)
        return ids

    def numbers(self, key: str, missing: float) -> np.ndarray:
        """(rows,) float64."""
        values = [row.get(key, missing) for row in self.rows]
        if not set(map(type, values)) <= {int, float}:
            for position, value in enumerate(values):
                if not isinstance(value, int | float | None):
                    raise self.error(position, f"{key} is {brief_value(value)}, not a number")
        try:
            return np.array([missing if value is None else value for value in values], dtype=np.float64)
        except OverflowError:
            raise self._too_large(key, values) from None

    def sides(self, key: str) -> np.ndarray:
        """(rows,) int64 pixels, 0 where the file does not say."""
        values = self.numbers(key, missing=0)
        wrong = np.flatnonzero(values > MAX_SIDE)
        if len(wrong):
            raise self.error(wrong[0], f"{key} is {values[wrong[0]]:g}, more than an image can have")
        return np.nan_to_num(values).clip(0).astype(np.int64)

    def boxes(self, key: str) -> np.ndarray:
        """(rows, 4) float64."""
        values = self.column(key)
        if not _are_fours(values):
            for position, value in enumerate(values):
                if not isinstance(value, list) or len(value) != 4 or not all(isinstance(v, int | float) for v in value):
                    raise self.error(position, f"{key} is {brief_value(value)}, not four numbers x, y, width, height")
        try:
            return np.array(values, dtype=np.float64).reshape(-1, 4)
        except OverflowError:
            raise self._too_large(key, values) from None

    def error(self, position: int, problem: str) -> UserError:
        return UserError(f"{shown(self.path)}: {self.name}[{self.places[position]}]: {problem}")

    def _too_large(self, key: str, values: list) -> UserError:
        """The error about the first whole number that is too large for a float."""
        for position, value in enumerate(values):
            try:
                np.array(0 if value is None else value, dtype=np.float64)
            except OverflowError:
                return self.error(position, f"{key} is {brief_value(value)}, too large a number")
        raise AssertionError("no value is too large")


def _as_whole(value: object) -> str:
    """How a value that means a whole number is to be written; nothing for another."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return f"; write it without quotation marks, {brief_value(int(value[:20]))}"
    if isinstance(value, float) and value.is_integer():
        return f"; write it without a point, {brief_value(int(value))}"
    return ""


def what_is_wrong_with(row: object) -> str:
    """Of an entry whose keys and values cannot be looked at; "" of one where they can."""
    if not isinstance(row, dict):
        return f"is {brief_value(row)}, not an object"
    return f"has the key {brief_value(row[TWICE])} twice" if TWICE in row else ""


def _are_fours(values: list) -> bool:
    """Whether all are lists of four numbers, found out without a look at each."""
    if set(map(type, values)) != {list} or set(map(len, values)) != {4}:
        return False
    return set(map(type, chain.from_iterable(values))) <= {int, float}


def check_unique(section: Section, ids: np.ndarray) -> None:
    """Raise `UserError` where two entries have the same of the `ids` (rows,)."""
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        raise UserError(f"{shown(section.path)}: {section.name} have the id {values[counts > 1][0]} more than once")


def places_of(section: Section, key: str, wanted: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(rows,) int64 position in `ids` of each id that is `wanted` (rows,) under `key`; `UserError` where one is not."""
    order = np.argsort(ids)
    rows = order[np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)]
    unknown = np.flatnonzero(ids[rows] != wanted)
    if len(unknown):
        raise section.error(unknown[0], f"{key} {wanted[unknown[0]]} is not in the file")
    return rows
