"""The data set of a COCO file, in one line."""

from pathlib import Path
from typing import Any

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.coco import read_coco


def coco_dataset(
    json_path: str | Path, image_dir: str | Path, *, outside_images: bool = False, **options: Any
) -> DetectionDataset:
    """options: of `DetectionDataset`."""
    return DetectionDataset(read_coco(json_path, image_dir, outside_images=outside_images), **options)
