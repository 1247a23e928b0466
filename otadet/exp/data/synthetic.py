"""Data that are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from otadet.data.splits import Split
from otadet.data.synthetic.write import can_be_written, is_written, write_synthetic
from otadet.exp.data.base import Data, FileData
from otadet.exp.data.coco import CocoData
from otadet.exp.data.folder import DataFolder
from otadet.limits import Limits


@dataclass(frozen=True)
class SyntheticShapes(Data):
    """Textured shapes in crowds, drawn into a folder on first use: something to train on without any data."""

    folder: str = "datasets/synthetic"
    """Where they are drawn, or have been."""
    image_size: Annotated[int, Limits(48, 1_024)] = 160
    """Side of the square images, in pixels."""
    images_train: Annotated[int, Limits(1, 20_000)] = 1000
    """Number of training images."""
    images_val: Annotated[int, Limits(1, 20_000)] = 100
    """Number of validation images."""
    shapes: Annotated[int, Limits(1, 6)] = 5
    """Kinds of shape, which are the classes."""

    def in_folder(self, folder: str) -> SyntheticShapes | DataFolder:
        """The same pictures in another folder; where it holds somebody's own, those."""
        return replace(self, folder=folder) if can_be_written(folder) else DataFolder(folder)

    def is_drawn(self) -> bool:
        """Whether all is there, so that nothing is written any more."""
        return is_written(self.folder, **self._settings())

    def without_prescan(self) -> FileData:
        """As everywhere, of the folder once it is drawn."""
        return self._drawn().without_prescan()

    def split(self, name: str) -> Split:
        """Drawn where it is not there yet; there is no test split. Raises `UserError` for a folder with other files."""
        return self._drawn().split(name)

    def _drawn(self) -> CocoData:
        write_synthetic(self.folder, **self._settings())
        annotations = (f"annotations/instances_{split}.json" for split in ("train", "val"))
        train_json, val_json = annotations
        return CocoData(self.folder, train_json, "train", val_json, "val")

    def _settings(self) -> dict[str, int]:
        return {
            "images_train": self.images_train,
            "images_val": self.images_val,
            "size": self.image_size,
            "classes": self.shapes,
        }
