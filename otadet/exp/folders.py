"""Parts that stand for data: a folder with images to train on, and images to validate on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.coco import read_coco
from otadet.data.images import DEFAULT, ReadOptions
from otadet.data.synthetic.write import write_synthetic
from otadet.errors import UserError
from otadet.limits import Limits
from otadet.names import clean_class_names
from otadet.part import Part

Unreadable = Literal["fail", "skip"]


@dataclass(frozen=True)
class CocoFolder(Part):
    """A folder in COCO's layout: two files of annotations and the images, their paths relative to it."""

    folder: str = "datasets/coco"
    train_json: str = "annotations/instances_train2017.json"
    train_images: str = "train2017"
    val_json: str = "annotations/instances_val2017.json"
    val_images: str = "val2017"
    class_names: tuple[str, ...] | None = None
    """By label; None: those of the data."""
    num_classes: Annotated[int, Limits(1, 100_000)] | None = None
    """None: as many as the data has; otherwise checked against it."""
    unreadable: Unreadable = "fail"
    """What becomes of images that cannot be read: "skip" leaves them out."""
    prescan: bool = True
    """Look at every image file before the start."""
    outside_images: bool = False
    """File names of the annotations may be absolute, or lead out of the image folder."""
    max_pixels: Annotated[int, Limits(1, 2**40)] = 2**28
    """An image file with more is refused: 0.8 GB as RGB."""
    exif_orientation: bool = False
    """Turn pictures as EXIF says; the annotations must be for the upright ones then. Predictors always do."""

    def check(self) -> None:
        if self.class_names is not None:
            object.__setattr__(self, "class_names", clean_class_names(self.class_names, "class_names"))
        if self.unreadable == "skip" and not self.prescan:
            raise UserError("unreadable skip: needs the pre-scan to find the images to skip; set prescan true")

    def options(self, image_bits: int = 16) -> ReadOptions:
        """How the image files are read. image_bits: that the values of 16-bit files use."""
        return ReadOptions(self.max_pixels, self.exif_orientation, image_bits)

    def in_folder(self, folder: str) -> CocoFolder:
        """The same layout in another folder."""
        return replace(self, folder=folder)

    def without_prescan(self) -> CocoFolder:
        """For who looks at a few images only: none is left out, and what cannot be read is found in its turn."""
        return replace(self, prescan=False, unreadable="fail")

    def train(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """The training set. class_names: by label, in place of the field. Raises `UserError` as `read_coco` and
        `DetectionDataset` do."""
        return self._read(self.train_json, self.train_images, class_names, image_bits)

    def val(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """The validation set; as `train`."""
        return self._read(self.val_json, self.val_images, class_names, image_bits)

    def _read(
        self, json_path: str, image_dir: str, class_names: Sequence[str] | None, image_bits: int
    ) -> DetectionDataset:
        folder = Path(self.folder)
        if not os.path.isdir(folder):
            raise UserError(
                f"{folder}: no such folder; name another in the experiment, or by data FOLDER after a command"
            )
        dataset = DetectionDataset(
            read_coco(folder / json_path, folder / image_dir, outside_images=self.outside_images),
            class_names=self.class_names if class_names is None else class_names,
            unreadable=self.unreadable,
            prescan=self.prescan,
            options=self.options(image_bits),
        )
        if self.num_classes not in (None, len(dataset.class_names)):
            raise UserError(
                f"{folder / json_path}: has {len(dataset.class_names)} classes ({', '.join(dataset.class_names)}), "
                f"but num_classes is {self.num_classes}; leave num_classes unset to take those of the data"
            )
        return dataset


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

    def in_folder(self, folder: str) -> SyntheticShapes:
        """The same pictures in another folder."""
        return replace(self, folder=folder)

    def without_prescan(self) -> CocoFolder:
        """As `CocoFolder.without_prescan`, of the folder once it is drawn."""
        return self._drawn().without_prescan()

    def train(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """The training set, drawn where it is not there yet. Raises `UserError` for a folder with other files."""
        return self._drawn().train(class_names, image_bits)

    def val(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """The validation set; as `train`."""
        return self._drawn().val(class_names, image_bits)

    def _drawn(self) -> CocoFolder:
        write_synthetic(
            self.folder,
            images_train=self.images_train,
            images_val=self.images_val,
            size=self.image_size,
            classes=self.shapes,
        )
        annotations = (f"annotations/instances_{split}.json" for split in ("train", "val"))
        train_json, val_json = annotations
        return CocoFolder(self.folder, train_json, "train", val_json, "val")
