"""COCO data whose files are named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from otadet.data.formats.coco import CocoSource
from otadet.data.formats.folders import no_such_folder
from otadet.data.formats.layout import Layout, Source
from otadet.errors import UserError
from otadet.exp.data.base import FileData


@dataclass(frozen=True)
class CocoData(FileData):
    """A folder with files of COCO annotations and images whose paths, relative to it, are named."""

    train_json: str = "annotations/instances_train2017.json"
    """The file of the training split, relative to `folder`."""
    train_images: str = "train2017"
    """The folder that its file names are relative to, itself relative to `folder`."""
    val_json: str | None = "annotations/instances_val2017.json"
    """None: a share of the training images is for validation."""
    val_images: str = "val2017"
    """As `train_images`."""
    test_json: str | None = None
    """None: there is no test split."""
    test_images: str | None = None
    """None: beside `test_json`."""
    outside_images: bool = False
    """File names of the annotations may be absolute, or lead out of the image folder."""

    def check(self) -> None:
        super().check()
        if self.test_images is not None and self.test_json is None:
            raise UserError(f"test_images {self.test_images}: there is no test split; set test_json, too")

    def layout(self) -> Layout:
        folder = Path(os.path.expanduser(self.folder))
        if not os.path.isdir(folder):
            raise UserError(no_such_folder(folder))
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
