"""What all parts have in common that stand for data, and those whose data are read from a folder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Annotated, Literal

from otadet.data.dataset import DetectionDataset
from otadet.data.formats.layout import Layout
from otadet.data.images import DEFAULT, ReadOptions
from otadet.data.made_split import SplitRule, check_group
from otadet.data.splits import Split, read_split
from otadet.errors import UserError
from otadet.limits import Limits
from otadet.names import clean_class_names
from otadet.part import Part

Unreadable = Literal["fail", "skip"]


class Data(Part):
    """What an experiment's `data` is: up to three data sets, and how their images are read."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """By label; None: those of the data."""
        return None

    @property
    def num_classes(self) -> int | None:
        """None: as many as the data has."""
        return None

    @property
    def unreadable(self) -> Unreadable:
        """What becomes of images that cannot be read: "skip" leaves them out."""
        return "fail"

    @property
    def prescan(self) -> bool:
        """Look at every image file before the start."""
        return True

    def options(self, image_bits: int = 16) -> ReadOptions:
        """How the image files are read. image_bits: that the values of 16-bit files use."""
        return replace(DEFAULT, bits=image_bits)

    @abstractmethod
    def without_prescan(self) -> Data:
        """The same data without a look at all files before the start, for programs that read only a few images.

        None is left out; a file that cannot be read is an error when its turn comes.
        """

    def untrained(self) -> Data:
        """The same data where no image has been trained on: all are the validation set where there is none, and nothing
        was set for making one."""
        return self

    @abstractmethod
    def split(self, name: str) -> Split:
        """The annotations of "train", "val" or "test". Raises `UserError` naming file, entry and fix."""

    def train(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """The training set. class_names: by label, in place of the field. Raises `UserError` as `split` and
        `DetectionDataset` do."""
        return self._dataset("train", class_names, image_bits)

    def val(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """The validation set, which is made where there is none; as `train`."""
        return self._dataset("val", class_names, image_bits)

    def test(self, class_names: Sequence[str] | None = None, image_bits: int = 16) -> DetectionDataset:
        """The test set, which nothing is trained on or chosen by; as `train`."""
        return self._dataset("test", class_names, image_bits)

    def _dataset(self, name: str, class_names: Sequence[str] | None, image_bits: int) -> DetectionDataset:
        split = self.split(name)
        dataset = DetectionDataset(
            split.annotations,
            class_names=self.class_names if class_names is None else class_names,
            unreadable=self.unreadable,
            prescan=self.prescan,
            options=self.options(image_bits),
            notes=split.notes,
        )
        if self.num_classes not in (None, len(dataset.class_names)):
            raise UserError(
                f"{dataset.source}: has {len(dataset.class_names)} classes ({', '.join(dataset.class_names)}), "
                f"but num_classes is {self.num_classes}; leave num_classes unset to take those of the data"
            )
        return dataset


@dataclass(frozen=True)
class FileData(Data):
    """Images and annotations in a folder: how they are read, and what is made where a split is missing."""

    folder: str = "datasets/coco"
    """`~` is the home folder."""
    _: KW_ONLY
    class_names: tuple[str, ...] | None = None
    """By label; None: those of the data."""
    num_classes: Annotated[int, Limits(1, 100_000)] | None = None
    """None: as many as the data has; otherwise checked against it."""
    val_share: Annotated[float, Limits(0, 1)] = SplitRule.share
    """Where there is no validation split: the share of the images that one is made of; 0: that is an error; 1: all, of
    which none can be trained on."""
    split_seed: Annotated[int, Limits(0, 2**62)] = 0
    """Of the split that is made: a function of the names, of this and of `group`."""
    group: str | None = None
    """What stays in one split: a regular expression, whose first group is the key, such as ^([^/]+)/ for folders.
    None: copies NAME.rf.HASH of one picture, and frames of a film that are called so, such as CLIP_frame_0012."""
    unreadable: Unreadable = "fail"
    """What becomes of images that cannot be read: "skip" leaves them out."""
    prescan: bool = True
    """Look at every image file before the start."""
    max_pixels: Annotated[int, Limits(1, 2**40)] = 2**28
    """An image file with more is refused: 0.8 GB as RGB."""
    exif_orientation: bool = False
    """Turn pictures as EXIF says; the annotations must be for the upright ones then. Predictors always do."""

    def check(self) -> None:
        if not self.folder:
            raise UserError("folder: is empty; name the folder of the data")
        if self.class_names is not None:
            object.__setattr__(self, "class_names", clean_class_names(self.class_names, "class_names"))
        if self.unreadable == "skip" and not self.prescan:
            raise UserError("unreadable skip: needs the pre-scan to find the images to skip; set prescan true")
        check_group(self.group)

    @abstractmethod
    def layout(self) -> Layout:
        """The splits. Raises `UserError` where there is no such folder, or nothing that can be read in it."""

    def in_folder(self, folder: str) -> FileData:
        """The same settings for another folder."""
        return replace(self, folder=folder)

    def options(self, image_bits: int = 16) -> ReadOptions:
        return ReadOptions(self.max_pixels, self.exif_orientation, image_bits)

    def without_prescan(self) -> FileData:
        return replace(self, prescan=False, unreadable="fail")

    def untrained(self) -> FileData:
        if self._rule.is_set or "val" in self.layout().splits:
            return self
        return replace(self, val_share=1.0)

    def split(self, name: str) -> Split:
        return read_split(self.folder, self.layout(), name, self._rule)

    @property
    def _rule(self) -> SplitRule:
        return SplitRule(self.val_share, self.split_seed, self.group)
