"""COCO files and their data sets, in one line."""

import json
from pathlib import Path
from typing import Any

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.coco import read_coco

PICTURE = (8, 6)
"""Height and width, in pixels, of the picture that tests write under a name."""
IMAGE = {"id": 1, "file_name": "a.png"}
CATEGORY = {"id": 1, "name": "ape"}
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}


def content(images=(IMAGE,), annotations=(ANNOTATION,), categories=(CATEGORY,)) -> dict[str, Any]:
    """What a COCO file holds."""
    return {"images": list(images), "annotations": list(annotations), "categories": list(categories)}


def coco(*names: str, **more: Any) -> str:
    """The text of a COCO file of these images, one box in the first."""
    return json.dumps(
        {
            "info": {"description": "made"},
            "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
            "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]}],
            "categories": [{"id": 1, "name": "cell"}],
            **more,
        }
    )


def coco_dataset(
    json_path: str | Path, image_dir: str | Path, *, outside_images: bool = False, **options: Any
) -> DetectionDataset:
    """options: of `DetectionDataset`."""
    return DetectionDataset(read_coco(json_path, image_dir, outside_images=outside_images), **options)
