"""The list of annotations of a COCO file, taken some thousand at once into arrays. Shape letter: `M` annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from otadet.data.formats.json_section import Section, check_unique, places_of

OUTLINED = "\0outlined"
"""The key of an entry whose box is that of its segmentation: no key of a file."""
NO_OUTLINE = "\0no outline"
"""That of one without a box, whose segmentation is none from which a box could be had."""


class AnnotationColumns:
    """What is needed of them; every error names the file and the entry."""

    def __init__(self, path: Path) -> None:
        self._none = Section(path, "annotations", {"annotations": []})
        self._columns: dict[str, list[np.ndarray]] = {}
        self._without_id: int | None = None
        self.outlined = 0
        """How many boxes are those of a segmentation."""

    def take_rows(self, rows: list, first: int) -> None:
        """Add the following ones. first: the place of the first in the file."""
        block = Section(self._none.path, self._none.name, {self._none.name: rows}, first)
        # Ids are not needed, so they may be missing.
        lacking = next((place for place, row in enumerate(rows) if "id" not in row), None)
        if lacking is None:
            self._add("id", block.whole_numbers("id"))
        elif self._without_id is None:
            self._without_id = first + lacking
        if lacking is not None and any("id" in row for row in rows):
            raise block.error(lacking, "has no 'id'")
        self._add("image_id", block.whole_numbers("image_id"))
        self._add("category_id", block.whole_numbers("category_id"))
        without = next((place for place, row in enumerate(rows) if NO_OUTLINE in row), None)
        if without is not None:
            raise block.error(
                without,
                "has no 'bbox', and its segmentation is neither a polygon nor a mask from which it could be had",
            )
        self._add("bbox", block.boxes("bbox"))
        self.outlined += sum(OUTLINED in row for row in rows)
        self._add("area", block.numbers("area", missing=np.nan))
        self._add("iscrowd", block.numbers("iscrowd", missing=0))

    def check_ids(self) -> None:
        """Raise `UserError` for equal ids, which betray files that were badly merged, and where only some have one."""
        if not self._columns.get("id"):
            return
        if self._without_id is not None:
            raise self._none.error(self._without_id, "has no 'id'")
        check_unique(self._none, self.column("id"))

    def column(self, key: str, shape: Sequence[int] = ()) -> np.ndarray:
        """(M, *shape) all values of a key."""
        blocks = self._columns.get(key)
        return np.concatenate(blocks) if blocks else np.zeros((0, *shape), np.int64 if key.endswith("id") else float)

    def references(self, key: str, ids: np.ndarray) -> np.ndarray:
        """(M,) int64 position in `ids` of the id under `key`."""
        return places_of(self._none, key, self.column(key), ids)

    def keep_references(self, key: str, ids: np.ndarray) -> tuple[str, ...]:
        """Leave out those with an id under `key` that is none of `ids`; what is wrong with each."""
        wanted = self.column(key)
        known = np.isin(wanted, ids)
        self._columns = {name: [self.column(name, (4,) if name == "bbox" else ())[known]] for name in self._columns}
        unknown = np.flatnonzero(~known).tolist()
        return tuple(str(self._none.error(place, f"{key} {wanted[place]} is not in the file")) for place in unknown)

    def __len__(self) -> int:
        return sum(map(len, self._columns.get("image_id", [])))

    def _add(self, key: str, values: np.ndarray) -> None:
        self._columns.setdefault(key, []).append(values)
