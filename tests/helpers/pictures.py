"""A data set that is nothing but its numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from otadet.data.annotations import Annotations
from otadet.data.class_list import SourceClasses
from otadet.data.image_names import ImageNames


class Pictures:
    """A data set of `images` pictures of one size, each with one square box of every side in `boxes`."""

    def __init__(self, images: int, size: tuple[int, int], boxes: tuple[float, ...]) -> None:
        number = images * len(boxes)
        sides = np.tile(np.array(boxes, float), images)
        self.sizes = np.tile(np.array(size), (images, 1))
        self.annotations = Annotations(
            source=Path("pictures"),
            image_dir=Path("pictures"),
            classes=SourceClasses((1,), ("cell",), np.array([number]), np.zeros(1, bool)),
            image_ids=np.arange(images),
            file_names=ImageNames.of([f"{row}.jpg" for row in range(images)]),
            image_sizes=self.sizes,
            image_rows=np.repeat(np.arange(images), len(boxes)),
            class_rows=np.zeros(number, np.int64),
            boxes=np.stack((0 * sides, 0 * sides, sides, sides), axis=1),
            areas=np.full(number, np.nan),
            ignored=np.zeros(number, bool),
        )
