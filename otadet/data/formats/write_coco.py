"""Writes COCO: a JSON file per split in `annotations`, its images in a folder of `images`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from otadet.data.formats.layout import ALL
from otadet.data.formats.written import Writer, WrittenClasses, WrittenSplit, below

_DECIMALS = 4


def write_coco(folder: Path, splits: Mapping[str, WrittenSplit], classes: WrittenClasses) -> Counter[str]:
    """Ignored regions are crowds (`iscrowd` 1); nothing is lost."""
    (folder / "annotations").mkdir()
    categories = [{"id": number, "name": name} for number, name in zip(classes.ids, classes.names, strict=True)]
    for split, data in splits.items():
        name = "instances.json" if split == ALL else f"instances_{split}.json"
        images = [
            {"id": number, "file_name": file_name, "height": height, "width": width}
            for number, file_name, (height, width) in zip(
                data.image_ids.tolist(), data.names, data.sizes.tolist(), strict=True
            )
        ]
        with open(folder / "annotations" / name, "w", encoding="utf-8") as file:
            file.write(f'{{"images": {json.dumps(images)},\n"categories": {json.dumps(categories)},\n"annotations": [')
            for row, entry in enumerate(_annotations(data, classes)):
                file.write(f"{',' if row else ''}\n{json.dumps(entry)}")
            file.write("]}\n")
    return Counter()


def _annotations(data: WrittenSplit, classes: WrittenClasses) -> Iterator[dict[str, Any]]:
    image_ids = np.repeat(data.image_ids, np.diff(data.offsets)).tolist()
    sides = data.boxes[:, 2:] - data.boxes[:, :2]
    areas = np.where(np.isnan(data.areas), sides.prod(axis=1), data.areas).round(_DECIMALS).tolist()
    corners = np.concatenate((data.boxes[:, :2], sides), axis=1).round(_DECIMALS).tolist()
    for row, label in enumerate(data.labels.tolist()):
        yield {
            "id": row + 1,
            "image_id": image_ids[row],
            "category_id": classes.ids[label],
            "bbox": corners[row],
            "area": areas[row],
            "iscrowd": int(data.ignored[row]),
        }


COCO = Writer(lambda split: below("images", split), write_coco)
