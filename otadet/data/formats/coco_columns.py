"""The list of annotations of a COCO file, taken some thousand at once into arrays. Shape letter: `M` annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from otadet.data.annotations import BrokenEntry
from otadet.data.formats.json_section import Section, check_unique, places_of
from otadet.errors import UserError

OUTLINED = "\0outlined"
"""The key of an entry whose box is that of its segmentation: no key of a file."""
NO_OUTLINE = "\0no outline"
"""That of one without a box, whose segmentation is none from which a box could be had."""
_NO_ID = -(2**63)
"""In place of an id that is missing; no file can have it."""


class AnnotationColumns:
    """What is needed of them; every error names the file and the entry."""

    def __init__(self, path: Path, broken: list[BrokenEntry] | None = None) -> None:
        """broken: where entries that are wrong are left out, and said here; None: they are errors."""
        self._none = Section(path, "annotations", {"annotations": []})
        # For errors about any entry.
        self._none.places = range(2**62)
        self._columns: dict[str, list[np.ndarray]] = {}
        self._broken = broken
        self.outlined = 0
        """How many boxes are those of a segmentation."""

    def take_rows(self, rows: list, first: int) -> None:
        """Add the following ones. first: the place of the first in the file."""
        try:
            columns = self._read(rows, first)
        except UserError as error:
            if self._broken is None:
                raise
            if len(rows) == 1:
                self._broken.append(BrokenEntry.of(self._none.path, error))
            else:
                # By halves, so that a few wrong ones among many cost little.
                half = len(rows) // 2
                self.take_rows(rows[:half], first)
                self.take_rows(rows[half:], first + half)
            return
        for key, values in columns.items():
            self._columns.setdefault(key, []).append(values)
        self.outlined += sum(OUTLINED in row for row in rows)

    def _read(self, rows: list, first: int) -> dict[str, np.ndarray]:
        block = Section(self._none.path, self._none.name, {self._none.name: rows}, first)
        columns = {"place": np.arange(first, first + len(rows)), "id": _ids(block)}
        columns |= {key: block.whole_numbers(key) for key in ("image_id", "category_id")}
        without = next((place for place, row in enumerate(rows) if NO_OUTLINE in row), None)
        if without is not None:
            raise block.error(
                without,
                "has no 'bbox', and its segmentation is neither a polygon nor a mask from which it could be had",
            )
        columns["bbox"] = block.boxes("bbox")
        columns["area"] = block.numbers("area", missing=np.nan)
        columns["iscrowd"] = block.numbers("iscrowd", missing=0)
        return columns

    def check_ids(self) -> None:
        """Equal ids, which betray files that were badly merged, and where only some have one, are errors.

        Boxes are none the worse for them, and are kept where errors are not raised.
        """
        ids = self.column("id")
        without = np.flatnonzero(ids == _NO_ID)
        if 0 < len(without) < len(ids):
            self._say(without, lambda row: "has no 'id'")
        _, first, which = np.unique(ids, return_index=True, return_inverse=True)
        again = np.flatnonzero((first[which] != np.arange(len(ids))) & (ids != _NO_ID))
        if len(again):
            if self._broken is None:
                check_unique(self._none, ids[ids != _NO_ID])
            others = self.column("place")[first[which]]
            self._say(again, lambda row: f"has the id {ids[row]} of annotations[{others[row]}] again")

    def column(self, key: str, shape: Sequence[int] = ()) -> np.ndarray:
        """(M, *shape) all values of a key."""
        blocks = self._columns.get(key)
        return np.concatenate(blocks) if blocks else np.zeros((0, *shape), np.int64 if key.endswith("id") else float)

    def references(self, key: str, ids: np.ndarray) -> np.ndarray:
        """(M,) int64 position in `ids` of the id under `key`."""
        return places_of(self._none, key, self.column(key), ids)

    def keep_references(self, key: str, ids: np.ndarray, left_out: np.ndarray) -> None:
        """Leave out those with an id under `key` that is none of `ids`.

        left_out: int64 ids of what is known to be wrong, so that nothing is said of what refers to it.
        """
        wanted = self.column(key)
        known = np.isin(wanted, ids)
        unknown = np.flatnonzero(~known & ~np.isin(wanted, left_out))
        self._say(unknown, lambda row: f"{key} {wanted[row]} is not in the file")
        self._columns = {name: [self.column(name, (4,) if name == "bbox" else ())[known]] for name in self._columns}

    def __len__(self) -> int:
        return sum(map(len, self._columns.get("image_id", [])))

    def _say(self, rows: np.ndarray, problem: Callable[[int], str]) -> None:
        """What is wrong with these rows: noted, or the error of the first."""
        places = self.column("place")
        for row in rows.tolist():
            error = self._none.error(places[row], problem(row))
            if self._broken is None:
                raise error
            self._broken.append(BrokenEntry.of(self._none.path, error))


def _ids(block: Section) -> np.ndarray:
    """(rows,) int64. They are not needed, so they may be missing."""
    if all("id" in row for row in block.rows):
        return block.whole_numbers("id")
    ids = np.full(len(block.rows), _NO_ID)
    having = [position for position, row in enumerate(block.rows) if "id" in row]
    if having:
        ids[having] = block.of(having).whole_numbers("id")
    return ids
