"""A split as the checks see it. Shape letters: `S` images, `M` boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from otadet.data.annotations import Annotations
from otadet.data.check.finding import Place
from otadet.data.check.scan import ImageFiles
from otadet.data.check.statistics import Objects, Statistics, objects, statistics


@dataclass(frozen=True, eq=False)
class Split:
    """Annotations, and what is known of their image files."""

    name: str
    annotations: Annotations
    files: ImageFiles

    @property
    def images(self) -> int:
        """S."""
        return len(self.annotations.image_ids)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(S, 2) int64 height, width that the boxes are for: as annotated, else of the file; 0 where nobody knows."""
        return np.where(self.annotations.image_sizes > 0, self.annotations.image_sizes, self.files.sizes)

    @cached_property
    def objects(self) -> Objects:
        """The boxes that are trained on."""
        return objects(self.annotations, self.sizes)

    @cached_property
    def statistics(self) -> Statistics:
        """The numbers of the split."""
        return statistics(self.annotations, self.sizes)

    @cached_property
    def of_known_size(self) -> np.ndarray:
        """(M,) bool: the image of the box has a size. Shares of a size that is not known are no pixels."""
        return self.sizes.min(axis=1, initial=2**62)[self.annotations.image_rows] > 0

    @property
    def whole(self) -> Place:
        """The file or folder of its annotations, for what is about all of them."""
        return Place(self.name, str(self.annotations.source))

    def place(self, row: int, boxes: Sequence[int] = ()) -> Place:
        """An image of the split, and some of its boxes."""
        return Place(self.name, str(self.files.paths[row]), row, tuple(boxes))

    def places(self, rows: Sequence[int] | np.ndarray) -> list[Place]:
        """Of images."""
        return [self.place(int(row)) for row in rows]

    def places_of_boxes(self, rows: np.ndarray) -> list[Place]:
        """Of boxes: one for each image, in the order of the images."""
        rows = rows[np.argsort(self.annotations.image_rows[rows], kind="stable")]
        images, start = np.unique(self.annotations.image_rows[rows], return_index=True)
        groups = np.split(rows, start[1:])
        return [self.place(image, group.tolist()) for image, group in zip(images.tolist(), groups, strict=False)]


def image_paths(annotations: Annotations) -> list[Path]:
    """(S,) the image files."""
    return [annotations.image_dir / name for name in annotations.file_names]
