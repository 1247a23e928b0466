"""Annotations of a few boxes that are written down as lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from otadet.data.annotations import Annotations
from otadet.data.class_list import SourceClasses
from otadet.data.image_names import ImageNames


def annotations(boxes, image_rows, class_rows, sizes, names=("a", "b"), ignored=None) -> Annotations:
    class_rows, count = np.array(class_rows, dtype=np.int64), len(sizes)
    per_class = np.bincount(class_rows, minlength=len(names))
    return Annotations(
        source=Path("a.json"),
        image_dir=Path("images"),
        classes=SourceClasses(tuple(range(len(names))), names, per_class, np.zeros(len(names), dtype=bool)),
        image_ids=np.arange(count),
        file_names=ImageNames.of([f"{number}.png" for number in range(count)]),
        image_sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
        image_rows=np.array(image_rows, dtype=np.int64),
        class_rows=class_rows,
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        areas=np.full(len(class_rows), np.nan),
        ignored=np.zeros(len(class_rows), dtype=bool) if ignored is None else np.array(ignored, dtype=bool),
    )
