"""Data that are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from otadet.data.dataset import DetectionDataset
from otadet.data.images import DEFAULT, ReadOptions
from otadet.data.synthetic.write import can_be_written, write_synthetic
from otadet.exp.data.base import FileData, Unreadable
from otadet.exp.data.coco import CocoData
from otadet.exp.data.folder import DataFolder
from otadet.limits import Limits
from otadet.part import Part


@dataclass(frozen=True)
class SyntheticShapes(Part):
    """Textured shapes in crowds, drawn into a folder on first use: something to train on without any data."""

    folder: str = "datasets/synthetic"
    image_size: Annotated[int, Limits(48, 1_024)] = 160
    """Side of the square images, in pixels."""
    images_train: Annotated[int, Limits(1, 20_000)] = 1000
    images_val: Annotated[int, Limits(1, 20_000)] = 100
    shapes: Annotated[int, Limits(1, 6)] = 5
    """Kinds of shape, which are the classes."""

    @property
    def class_names(self) -> None:
        """Those of the data."""
        return None

    @property
    def num_classes(self) -> None:
        """As many as the data has."""
        return None

    @property
    def unreadable(self) -> Unreadable:
        """What is drawn here can be read."""
        return "fail"

    def options(self, image_bits: int = 16) -> ReadOptions:
        """How the image files are read."""
        return replace(DEFAULT, bits=image_bits)

    def in_folder(self, folder: str) -> SyntheticShapes | DataFolder:
        """The same pictures in another folder; where it holds somebody's own, those."""
        return replace(self, folder=folder) if can_be_written(folder) else DataFolder(folder)

    def without_prescan(self) -> FileData:
        """As `FileData.without_prescan`, of the folder once it is drawn."""
        return self._drawn().without_prescan()

    def train(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """The training set, drawn where it is not there yet. Raises `UserError` for a folder with other files."""
        return self._drawn().train(class_names, image_bits)

    def val(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """The validation set; as `train`."""
        return self._drawn().val(class_names, image_bits)

    def test(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """Raises `UserError`: there is no test set."""
        return self._drawn().test(class_names, image_bits)

    def _drawn(self) -> CocoData:
        write_synthetic(
            self.folder,
            images_train=self.images_train,
            images_val=self.images_val,
            size=self.image_size,
            classes=self.shapes,
        )
        annotations = (f"annotations/instances_{split}.json" for split in ("train", "val"))
        train_json, val_json = annotations
        return CocoData(self.folder, train_json, "train", val_json, "val")
