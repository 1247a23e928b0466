"""Folders of annotated pictures, their format found out or named."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from otadet.data.formats.coco import CocoSource
from otadet.data.formats.detect import FindOptions, find_data
from otadet.data.formats.layout import Layout, Source
from otadet.errors import UserError
from otadet.exp.data.base import FileData

Format = Literal["auto", "coco", "yolo"]


@dataclass(frozen=True)
class DataFolder(FileData):
    """A folder of pictures and annotations in any format that otadet reads, or the one file that describes it."""

    folder: str = "datasets/coco"
    format: Format = "auto"
    """"auto": found out, and said in the log."""

    @property
    def place(self) -> str:
        return self.folder

    def in_folder(self, folder: str) -> DataFolder:
        """The same settings for another folder."""
        return replace(self, folder=folder)

    def layout(self) -> Layout:
        return find_data(self.folder, self.format, FindOptions(self.outside_images, self.options()))


@dataclass(frozen=True)
class YoloData(FileData):
    """YOLO data: a folder, or the `data.yaml` that describes them."""

    folder: str = "datasets/yolo"

    @property
    def place(self) -> str:
        return self.folder

    def in_folder(self, folder: str) -> YoloData:
        """The same settings for another folder."""
        return replace(self, folder=folder)

    def layout(self) -> Layout:
        return find_data(self.folder, "yolo", FindOptions(self.outside_images, self.options()))


@dataclass(frozen=True)
class CocoData(FileData):
    """A folder with files of COCO annotations and images whose paths, relative to it, are named."""

    folder: str = "datasets/coco"
    train_json: str = "annotations/instances_train2017.json"
    train_images: str = "train2017"
    val_json: str | None = "annotations/instances_val2017.json"
    """None: a share of the training images is for validation."""
    val_images: str = "val2017"
    test_json: str | None = None
    test_images: str | None = None
    """None: beside `test_json`."""

    def check(self) -> None:
        super().check()
        if self.test_images is not None and self.test_json is None:
            raise UserError(f"test_images {self.test_images}: there is no test split; set test_json, too")

    @property
    def place(self) -> str:
        return self.folder

    def in_folder(self, folder: str) -> CocoData:
        """The same paths in another folder."""
        return replace(self, folder=folder)

    def layout(self) -> Layout:
        folder = Path(self.folder)
        if not os.path.isdir(folder):
            raise UserError(
                f"{folder}: no such folder; name another in the experiment, or by data FOLDER after a command"
            )
        named = {
            "train": (self.train_json, self.train_images),
            "val": (self.val_json, self.val_images),
            "test": (self.test_json, self.test_images),
        }
        splits: dict[str, Source] = {
            split: CocoSource(
                folder / json, (folder / json).parent if images is None else folder / images, self.outside_images
            )
            for split, (json, images) in named.items()
            if json is not None
        }
        return Layout("COCO", self.train_json, splits)
