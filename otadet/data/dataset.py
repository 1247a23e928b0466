"""A data set for detection: annotations of any format, and their images."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from otadet.data.annotations import Annotations, check_image_dir
from otadet.data.class_list import match_classes
from otadet.data.counts import Counts
from otadet.data.image_files import ImageCache, ImageFiles
from otadet.data.image_names import IS_THERE
from otadet.data.images import DEFAULT, ReadOptions
from otadet.data.pixels import NO_PIXELS
from otadet.data.prescan import scan_images, scan_warnings
from otadet.data.reduce import reduced_size
from otadet.data.sample import Sample, TrainTransform, Transform
from otadet.data.transforms.needed import needed_size
from otadet.data.transforms.objects import is_degenerate, sides
from otadet.data.view import Picture, View, ViewSource
from otadet.errors import UserError

_NAMED_AT_MOST = 5


class DetectionDataset(ViewSource):
    """Images with their objects: labels, clipped boxes, ignored regions.

    The ids of classes may be any numbers: labels count from 0 in the order of `class_names`, by default that of the
    ids. Images without objects are kept; boxes are clipped to their image, and dropped when nothing is left.

    Args:
        annotations: what a reader of `otadet.data.formats` returned.
        class_names: the classes in the order of the labels. The file may lack some, and have others without boxes.
            None takes those of the file, less the headings among them.
        unreadable: what to do about image files that fail the pre-scan: "fail" raises, "skip" leaves the images out.
        prescan: look at every image file first, without decoding it (`images.check_header`), and compare its size with
            the annotations'. Without it an unreadable file is found when its turn comes.
        options: how the files are read. With an orientation applied, the annotations must be for the upright pictures.
        notes: what the log is to say of where the data come from, one line each.

    Raises `UserError` for boxes of other classes, or unreadable images.
    """

    annotations: Annotations
    """Of the readable images, their boxes sorted by image."""
    class_names: tuple[str, ...]
    """(C,) by label."""
    source_ids: tuple[int, ...]
    """(C,) what the annotations call each label, for results in their format."""
    labels: np.ndarray
    """(M,) int64 of the boxes of `annotations`."""
    valid: np.ndarray
    """(M,) bool: the box has a size, and lies in its image at least in part."""
    sizes: np.ndarray
    """(S, 2) int64 height, width of the image files in pixels."""
    images: ImageFiles
    counts: Counts
    warnings: list[str]
    """What the pre-scan saw that may not be meant: one line per kind."""
    notes: tuple[str, ...]
    """Where the data come from: one line each."""

    def __init__(
        self,
        annotations: Annotations,
        *,
        class_names: Sequence[str] | None = None,
        unreadable: str = "fail",
        prescan: bool = True,
        options: ReadOptions = DEFAULT,
        notes: Sequence[str] = (),
    ) -> None:
        check_options(unreadable, prescan)
        check_image_dir(annotations.source, annotations.image_dir)
        self.options, self.notes = options, tuple(notes)
        classes = match_classes(annotations.source, annotations.classes, class_names)
        self.class_names, self.source_ids, self._left_out = classes.names, classes.source_ids, classes.left_out
        folder = annotations.image_dir
        paths = [folder / name for name in annotations.file_names]
        scan = scan_images(paths, annotations.image_sizes, whole=prescan, options=options, folder=folder)
        if scan.problems and (unreadable == "fail" or len(scan.problems) == len(paths)):
            raise UserError(_unreadable_images(annotations.source, list(scan.problems.values()), len(paths)))
        readable = ~np.isin(np.arange(len(paths)), list(scan.problems))
        self.warnings = scan_warnings(scan, paths, options)
        self.sizes = scan.sizes[readable]
        self.annotations = annotations.of_images(readable)
        self.images = ImageFiles.whole(folder, self.annotations.file_names, self.sizes, options)
        self.labels = classes.labels[self.annotations.class_rows]
        self._set_boxes(unreadable=len(scan.problems))

    def _set_boxes(self, unreadable: int) -> None:
        """Clips, decides what is trained on, and counts."""
        corners, image_rows = self.annotations.boxes, self.annotations.image_rows
        height, width = self.sizes[image_rows].T
        clipped = corners.clip(0, np.stack((width, height, width, height), axis=1))
        with np.errstate(over="ignore", invalid="ignore"):
            is_finite = np.isfinite(corners).all(axis=1) & np.isfinite(sides(corners)).all(axis=1)
        self._boxes = clipped.astype(np.float32)
        self.valid = is_finite & ~is_degenerate(clipped)
        ignored = self.annotations.ignored
        self._trained_on = self.valid & ~ignored
        self._offsets = np.searchsorted(image_rows, np.arange(len(self) + 1))
        self.counts = Counts(
            images=len(self),
            images_without_boxes=int((self.boxes_per_image() == 0).sum()),
            boxes=int(self._trained_on.sum()),
            ignored=int((ignored & self.valid).sum()),
            clipped=int((self.valid & (abs(corners - clipped) > 1).any(axis=1)).sum()),
            degenerate=int((~self.valid).sum()),
            unreadable=unreadable,
        )

    def with_class_order(self, names: Sequence[str]) -> DetectionDataset:
        """The same data with the labels in the order of `names`, which are its class names."""
        other, place = copy(self), {name: label for label, name in enumerate(names)}
        other.class_names = tuple(names)
        ids = dict(zip(self.class_names, self.source_ids, strict=True))
        other.source_ids = tuple(ids[name] for name in names)
        other.labels = np.array([place[name] for name in self.class_names])[self.labels]
        return other

    def reduced_for(self, transform: Transform | TrainTransform) -> DetectionDataset:
        """The same data with images decoded at 1/2, 1/4 or 1/8 of their size where `transform` needs no more of them.

        See `needed_size`: none is then enlarged that would not be anyway. Their boxes are scaled with them.
        """
        other = copy(self)
        other.images = self.images.reduced_for(partial(needed_size, transform))
        return other

    def cached(self, cache: ImageCache) -> DetectionDataset:
        """The same data with images that are decoded once, as far as the cache, which is for `images`, has room."""
        other = copy(self)
        other.images = replace(self.images, cache=cache)
        return other

    def __len__(self) -> int:
        return len(self.annotations.image_ids)

    @property
    def source(self) -> Path:
        """The file or folder of the annotations: what messages name."""
        return self.annotations.source

    @property
    def image_dir(self) -> Path:
        """The folder of the images."""
        return self.annotations.image_dir

    @property
    def image_ids(self) -> np.ndarray:
        """(S,) int64."""
        return self.annotations.image_ids

    @property
    def file_names(self) -> list[str]:
        """(S,) names of the image files, relative to `image_dir`."""
        return list(self.annotations.file_names)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.images.path(index)

    def view(self, index: int) -> View:
        """A sample whose image is not read before it is drawn; the errors of `sample` are raised then."""
        rows = self._rows_of(index)
        kept = self._trained_on[rows]
        boxes = self._boxes[rows]
        height, width = self.sizes[index].tolist()
        sample = Sample(
            image=NO_PIXELS,
            boxes=boxes[kept],
            labels=self.labels[rows][kept],
            image_id=int(self.image_ids[index]),
            file_name=self.annotations.file_names[index],
            original_size=(height, width),
            ignored=boxes[self.annotations.ignored[rows] & self.valid[rows]],
        )
        reduction = int(self.images.reductions[index])
        size = reduced_size(height, width, reduction)
        picture = Picture(partial(self.images.read, index), size, size, size)
        return View(sample if reduction == 1 else _scaled_down(sample, reduction, size), picture)

    def _rows_of(self, index: int) -> slice:
        """The annotations of an image."""
        return slice(self._offsets[index], self._offsets[index + 1])

    def objects_of(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(G, 4) float32 xyxy in pixels of the file, and (G,) labels, of an image's boxes to train on, unread."""
        rows = self._rows_of(index)
        kept = self._trained_on[rows]
        return self._boxes[rows][kept], self.labels[rows][kept]

    def objects(self) -> tuple[np.ndarray, np.ndarray]:
        """(M,) the image and (M,) the label of every box to train on."""
        return self.annotations.image_rows[self._trained_on], self.labels[self._trained_on]

    def boxes_per_class(self) -> np.ndarray:
        """(C,) int64 number of boxes to train on."""
        return np.bincount(self.labels[self._trained_on], minlength=len(self.class_names))

    def boxes_per_image(self) -> np.ndarray:
        """(S,) int64 number of boxes to train on."""
        return np.bincount(self.annotations.image_rows[self._trained_on], minlength=len(self))

    def summary(self) -> str:
        """One line for the log: what there is, and what was changed."""
        counted = self.counts.summary(
            self.boxes_per_class(), self.class_names, self._left_out, self.annotations.dropped
        )
        return f"{self.source.name}: {counted}"

    def check_trainable(self) -> None:
        """Raise `UserError`, saying why, where there is no box to train on."""
        counts = self.counts
        if counts.boxes:
            return
        why = self.annotations.why_no_boxes
        if not why and not len(self.annotations.boxes):
            why = "the images left have no annotation"
        elif not why and not counts.ignored:
            why = f"{counts.degenerate} of its annotations are degenerate, of no size or outside their image"
        elif not why:
            why = f"{counts.ignored} of its annotations are crowd regions ({self.annotations.ignored_hint})"
            why += f", {counts.degenerate} are degenerate" if counts.degenerate else ""
        raise UserError(f"{self.source}: has no box to train on: {why}")


def _scaled_down(sample: Sample, reduction: int, size: tuple[int, int]) -> Sample:
    """A sample whose image is reduced to `size`, with its boxes and regions, less what has no size any more."""
    height, width = size
    corner = np.array((width, height, width, height), np.float32)
    boxes, ignored = (
        np.minimum(part / reduction, corner).astype(np.float32) for part in (sample.boxes, sample.ignored)
    )
    kept = ~is_degenerate(boxes)
    return replace(
        sample,
        boxes=boxes[kept],
        labels=sample.labels[kept],
        ignored=ignored[~is_degenerate(ignored)],
        scale=(1 / reduction, 1 / reduction),
    )


def check_options(unreadable: str, prescan: bool) -> None:
    """Raise `UserError` for options that contradict each other."""
    if unreadable not in ("fail", "skip"):
        raise UserError(f'unreadable is {unreadable!r}; it must be "fail" or "skip"')
    if unreadable == "skip" and not prescan:
        raise UserError('unreadable = "skip" needs the pre-scan to find the images to skip: leave prescan on')


def _unreadable_images(path: Path, problems: list[str], images: int) -> str:
    advice = "Every image is: is the image folder the right one?"
    if len(problems) < images:
        advice = "Repair them, or leave them out: data.unreadable skip, for otadet convert-data --skip-unreadable."
    if any(IS_THERE in problem for problem in problems):
        advice = "Name the files in the annotations as they are named in the folder, or rename the files."
    if len(problems) == 1:
        return f"{path}: 1 of its {images} images cannot be read: {problems[0]}. {advice.replace('them', 'it')}"
    listed = "".join(f"\n  {problem}" for problem in problems[:_NAMED_AT_MOST])
    more = f"\n  and {len(problems) - _NAMED_AT_MOST} more" if len(problems) > _NAMED_AT_MOST else ""
    return f"{path}: {len(problems)} of its {images} images cannot be read:{listed}{more}\n{advice}"
