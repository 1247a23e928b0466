"""Data sets in COCO format: one JSON file of annotations and a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otadet.data.dataset import DetectionDataset, check_source
from otadet.data.formats.coco import read_coco
from otadet.data.images import DEFAULT, ReadOptions


class CocoDataset(DetectionDataset):
    """The `DetectionDataset` of a COCO instances file.

    Args:
        json_path: the annotations.
        outside_images: whether file names may be absolute or lead out of `image_dir`. Links in it are followed.

    The others, and what is raised, are as in `DetectionDataset`; `UserError` also for bad annotations.
    """

    def __init__(
        self,
        json_path: str | Path,
        image_dir: str | Path,
        *,
        class_names: Sequence[str] | None = None,
        unreadable: str = "fail",
        prescan: bool = True,
        options: ReadOptions = DEFAULT,
        outside_images: bool = False,
    ) -> None:
        check_source(Path(json_path), Path(image_dir), unreadable=unreadable, prescan=prescan)
        super().__init__(
            read_coco(json_path, outside_images=outside_images),
            image_dir,
            class_names=class_names,
            unreadable=unreadable,
            prescan=prescan,
            options=options,
        )

    @property
    def json_path(self) -> Path:
        """The annotations."""
        return self.source

    @property
    def category_ids(self) -> tuple[int, ...]:
        """(C,) the category id of each label."""
        return self.source_ids
