"""Folders of annotated pictures whose format is found out, or said and then found in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from otadet.data.formats.crowdhuman_file import Which
from otadet.data.formats.detect import FindOptions, find_data
from otadet.data.formats.layout import Layout
from otadet.errors import UserError
from otadet.exp.data.base import FileData

Format = Literal["auto", "coco", "yolo", "voc", "crowdhuman"]


@dataclass(frozen=True)
class DataFolder(FileData):
    """A folder of pictures and annotations in any format that otadet reads, or the one file that describes it."""

    format: Format = "auto"
    """"auto": found out, and said in the log."""
    boxes: Which = "full"
    """Of CrowdHuman; see `CrowdHumanData`."""
    outside_images: bool = False
    """File names in COCO and YOLO data may be absolute, or lead out of the folder."""

    def layout(self) -> Layout:
        layout = find_data(self.folder, self.format, FindOptions(self.outside_images, self.options(), self.boxes))
        if self.boxes != "full" and layout.format != "CrowdHuman":
            raise UserError(
                f"data.boxes {self.boxes}: {self.folder} is {layout.format}, whose objects have one box each"
            )
        if self.outside_images and layout.format not in ("COCO", "YOLO"):
            raise UserError(f"data.outside_images true: {self.folder} is {layout.format}, which names no paths")
        return layout


@dataclass(frozen=True)
class YoloData(FileData):
    """YOLO data: a folder, or the `data.yaml` that describes them."""

    outside_images: bool = False
    """Images may lie out of the folder."""

    def layout(self) -> Layout:
        return find_data(self.folder, "yolo", FindOptions(self.outside_images, self.options()))


@dataclass(frozen=True)
class VocData(FileData):
    """Pascal VOC: a folder with XML files, perhaps with lists of images per split. `difficult` objects are ignored."""

    def layout(self) -> Layout:
        return find_data(self.folder, "voc")


@dataclass(frozen=True)
class CrowdHumanData(FileData):
    """CrowdHuman: a folder with .odgt files and images, or one such file. Its own evaluation is made with them."""

    boxes: Which = "full"
    """Of the whole person, of what is seen of it, or of the head."""

    def layout(self) -> Layout:
        return find_data(self.folder, "crowdhuman", FindOptions(boxes=self.boxes))
