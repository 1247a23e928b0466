"""YOLO data sets: a text file of boxes per image, found by the image's name. Shape letter: `S` images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otadet.data.annotations import Annotations, BrokenEntry
from otadet.data.class_list import SourceClasses
from otadet.data.formats.layout import NOT_LISTED, Layout
from otadet.data.formats.yolo_files import YoloFiles, find_files
from otadet.data.formats.yolo_labels import CLASSES_AT_MOST, YoloLabels, read_labels
from otadet.data.formats.yolo_layout import find_layout
from otadet.data.image_file import shown
from otadet.data.image_names import ImageNames
from otadet.data.images import DEFAULT, ReadOptions
from otadet.data.prescan import scan_images

_BACKGROUND = "images without a label file, taken as background"


@dataclass(frozen=True)
class YoloSplit:
    """One split of a YOLO data set: a source of annotations.

    The label file of an image has its name with `.txt`, in the folder whose last part `images` is `labels`, or else
    beside it. An image without one is background; an outline becomes its box.
    """

    where: tuple[str, ...]
    """Folders of images, which are searched with those below, and text files that list images; absolute."""
    folder: Path
    """Of the data, that image names are relative to."""
    source: Path
    """What messages name: the file that describes the data, or their folder."""
    names: tuple[str, ...] | None
    """(F,) class names by index; None where nothing tells them: those of the indices used, "class 0", ..."""
    bases: tuple[str, ...] = ()
    """Absolute folders that the lines of a list may be relative to, besides its own and `folder`."""
    outside_images: bool = False
    """Whether images may lie out of `folder`."""
    options: ReadOptions = DEFAULT
    """How image files are read."""
    lenient: bool = False
    """For whoever looks for faults: take boxes of classes beyond the names, too, and leave out lines that are wrong,
    and say which, in place of an error."""

    def read(self) -> Annotations:
        """The annotations. The size of each image is read from its header; one that cannot be read has no size, and the
        data set says so.

        Raises `UserError` naming the file and the line of a label or a list that is wrong, and a place without images.
        """
        broken: list[BrokenEntry] | None = [] if self.lenient else None
        files = find_files(self.where, str(self.folder), self.bases, outside=self.outside_images, broken=broken)
        labelled = [row for row, label in enumerate(files.labels) if label is not None]
        limit = None if self.names is None else len(self.names)
        if limit is not None and self.lenient:
            limit = max(limit, CLASSES_AT_MOST)
        names_from = None if self.names is None else shown(self.source)
        labels = read_labels([label for label in files.labels if label is not None], limit, names_from, broken)
        rows = np.array(labelled, dtype=np.int64)[labels.file_rows]
        sizes = _sizes(files, self.folder, self.options)
        classes, class_rows = _classes(self.names, labels.class_indices)
        return Annotations(
            source=self.source,
            image_dir=self.folder,
            classes=classes,
            image_ids=np.arange(1, len(files.names) + 1),
            file_names=ImageNames.of(files.names),
            image_sizes=sizes,
            image_rows=rows,
            class_rows=class_rows,
            boxes=_pixels(labels.boxes, sizes[rows]),
            areas=np.full(len(rows), np.nan),
            ignored=np.zeros(len(rows), dtype=bool),
            why_no_boxes=_why_no_boxes(files, labelled) if not len(rows) else "",
            dropped=_dropped(files, labels, labelled),
            dropped_files=_dropped_files(files, self.folder) if self.lenient else {},
            without_image=tuple(files.orphans),
            broken=tuple(broken or ()),
            as_shares=True,
            unlisted=_unlisted(self.names, classes, labels),
        )


def find_yolo(path: str | Path, *, outside_images: bool = False, options: ReadOptions = DEFAULT) -> Layout | None:
    """The YOLO data set in a folder, or that a file (`data.yaml`, `obj.data`) describes; None where there is none.

    Without such a file, folders `images` and `labels` of each split or for all are looked for, then images with their
    label files beside them. Class names are then those of `classes.txt` or `obj.names`; without these "class 0", ...

    Args:
        path: the folder or the file.
        outside_images: whether images may lie out of the folder.
        options: how image files are read: boxes are shares of the size of their image.

    Raises `UserError` naming the file for a description that is damaged or contradicts itself.
    """
    found = find_layout(Path(path), outside=outside_images)
    if found is None:
        return None
    splits = {
        split: YoloSplit(where, found.folder, found.source, found.names, found.bases, outside_images, options)
        for split, where in found.splits.items()
    }
    return Layout("YOLO", found.why, splits)


def _sizes(files: YoloFiles, folder: Path, options: ReadOptions) -> np.ndarray:
    """(S, 2) int64 height, width; 0 of files that cannot be read."""
    unknown = np.zeros((len(files.names), 2), dtype=np.int64)
    return scan_images([folder / name for name in files.names], unknown, whole=False, options=options).sizes


def _pixels(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """boxes: (M, 4) in shares of their image. sizes: (M, 2) of it, height and width in pixels."""
    height, width = sizes.T
    with np.errstate(invalid="ignore", over="ignore"):
        return boxes * np.stack((width, height, width, height), axis=1)


def _classes(names: Sequence[str] | None, indices: np.ndarray) -> tuple[SourceClasses, np.ndarray]:
    """The classes, and (M,) the row of each box's."""
    made_up = names is None and not len(indices)
    if names is not None:
        extra = np.unique(indices[indices >= len(names)])
        ids = np.concatenate((np.arange(len(names)), extra))
        names = [*names, *(f"class {index}{NOT_LISTED}" for index in extra.tolist())]
        rows = np.searchsorted(ids, indices)
    else:
        ids, rows = np.unique(indices, return_inverse=True)
        # A split without a box has a class all the same, since no data set is without.
        ids = ids if len(ids) else np.zeros(1, dtype=np.int64)
        names = [f"class {index}" for index in ids.tolist()]
    boxes = np.bincount(rows, minlength=len(ids))
    headings = np.zeros(len(ids), dtype=bool)
    return SourceClasses(tuple(ids.tolist()), tuple(names), boxes, headings, made_up), rows


def _unlisted(names: Sequence[str] | None, classes: SourceClasses, labels: YoloLabels) -> tuple[str, ...]:
    """Classes that nothing names: those beyond the names, or that of a split without a name and without a box."""
    if names is not None:
        return classes.names[len(names) :]
    return () if len(labels.boxes) else classes.names


def _why_no_boxes(files: YoloFiles, labelled: list[int]) -> str:
    if labelled:
        return f"the {len(labelled)} label files of its {len(files.names)} images are empty"
    return f"none of its {len(files.names)} images has a label file, in a folder `labels` beside `images`, or beside it"


def _without_image(files: YoloFiles) -> str:
    example = f", such as {shown(files.orphans[0])}" if files.orphans else ""
    return f"label files without an image left out{example}"


def _dropped_files(files: YoloFiles, folder: Path) -> dict[str, tuple[str, ...]]:
    background = [name for name, label in zip(files.names, files.labels, strict=True) if label is None]
    return {
        _BACKGROUND: tuple(str(folder / name) for name in background),
        _without_image(files): tuple(files.orphans),
    }


def _dropped(files: YoloFiles, labels: YoloLabels, labelled: list[int]) -> tuple[tuple[str, int], ...]:
    counts = {
        _BACKGROUND: len(files.names) - len(labelled),
        _without_image(files): len(files.orphans),
        "images listed twice, taken once": files.listed_twice,
        "outlines turned into their box": labels.polygons,
    }
    return tuple((what, number) for what, number in counts.items() if number)
