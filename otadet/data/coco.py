"""Data sets in COCO format: one JSON file of annotations and a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otadet.data.class_list import match_classes
from otadet.data.file_names import IS_THERE, SimilarNames
from otadet.data.formats.coco import read_coco_json
from otadet.data.images import DEFAULT, ReadOptions, read_image
from otadet.data.prescan import scan_images, scan_warnings, size_problem
from otadet.data.sample import Sample
from otadet.data.transforms.geometry import MIN_SIDE, sides
from otadet.errors import UserError

_NAMED_AT_MOST = 5


@dataclass(frozen=True)
class CocoCounts:
    """What a data set holds, and what was done to it."""

    images: int
    images_without_boxes: int
    """Kept: they have no box to train on."""
    boxes: int
    """To train on: neither crowd nor degenerate."""
    crowd: int
    """Regions that surround a group: not trained on, ignored in evaluation."""
    clipped: int
    """Boxes that reached more than a pixel past their image."""
    degenerate: int
    """Boxes of no size, or outside their image: dropped from training and evaluation."""
    unreadable: int
    """Images that were skipped, because the file is missing or damaged."""


class CocoDataset:
    """The images of a COCO instances file, with their objects.

    Category ids may be any numbers: labels count from 0 in the order of `class_names`, by default that of the ids.
    Images without objects are kept; boxes are clipped to their image, and dropped when nothing is left.

    json_path, image_dir: the annotations, and the folder that their file names are relative to.
    class_names: the classes in the order of the labels. The file may lack some, and have others without boxes. None
        takes those of the file, less the headings among them.
    unreadable: what to do about image files that fail the pre-scan: "fail" raises, "skip" leaves the images out.
    prescan: look at every image file first, without decoding it (`images.check_image`), and compare its size with the
        annotations'. Without it an unreadable file is found when its turn comes.
    options: how the files are read. With an orientation applied, the annotations must be for the upright pictures.

    outside_images: whether file names may be absolute or lead out of `image_dir`. Links in it are followed.

    Raises `UserError` for bad annotations, boxes of other classes, or unreadable images.
    """

    class_names: tuple[str, ...]
    """(C,) by label."""
    category_ids: tuple[int, ...]
    """(C,) the category id of each label."""
    image_ids: np.ndarray
    """(I,) int64."""
    counts: CocoCounts
    warnings: list[str]
    """What the pre-scan saw that may not be meant: one line per kind."""

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
        if unreadable not in ("fail", "skip"):
            raise UserError(f'unreadable is {unreadable!r}; it must be "fail" or "skip"')
        if unreadable == "skip" and not prescan:
            raise UserError('unreadable = "skip" needs the pre-scan to find the images to skip: leave prescan on')
        self.json_path, self.image_dir, self.options = Path(json_path), Path(image_dir), options
        if not self.image_dir.is_dir():
            raise UserError(f"{self.image_dir}: no such folder; the images of {self.json_path} are expected there")

        tables = read_coco_json(self.json_path, outside_images=outside_images)
        classes = match_classes(self.json_path, tables.categories, class_names)
        self._classes, self._has_annotations = classes, tables.has_annotations
        self.class_names, self.category_ids = classes.names, classes.category_ids
        paths = [self.image_dir / name for name in tables.file_names]
        scan = scan_images(paths, tables.image_sizes, whole=prescan, options=options, folder=self.image_dir)
        problems = scan.problems
        if problems and (unreadable == "fail" or len(problems) == len(paths)):
            raise UserError(_unreadable_images(self.json_path, list(problems.values()), len(paths)))
        readable = ~np.isin(np.arange(len(paths)), list(problems))
        self._tables = tables.of_images(readable)
        self._sizes = scan.sizes[readable]
        self.warnings = scan_warnings(scan, paths, options)
        self._labels = classes.labels[self._tables.category_rows]
        self._set_boxes(unreadable=len(problems))

    def _set_boxes(self, unreadable: int) -> None:
        """Clips, decides what is trained on, and counts."""
        tables = self._tables
        self.image_ids = tables.image_ids
        with np.errstate(over="ignore", invalid="ignore"):
            corners = np.concatenate((tables.boxes[:, :2], tables.boxes[:, :2] + tables.boxes[:, 2:]), axis=1)
        height, width = self._sizes[tables.image_rows].T
        clipped = corners.clip(0, np.stack((width, height, width, height), axis=1))
        self._boxes = clipped.astype(np.float32)
        self._valid = np.isfinite(corners).all(axis=1) & (sides(clipped) >= MIN_SIDE).all(axis=1)
        self._trained_on = self._valid & ~tables.crowd
        self._offsets = np.searchsorted(tables.image_rows, np.arange(len(self) + 1))
        self.counts = CocoCounts(
            images=len(self),
            images_without_boxes=len(self) - len(np.unique(tables.image_rows[self._trained_on])),
            boxes=int(self._trained_on.sum()),
            crowd=int((tables.crowd & self._valid).sum()),
            clipped=int((self._valid & (abs(corners - clipped) > 1).any(axis=1)).sum()),
            degenerate=int((~self._valid).sum()),
            unreadable=unreadable,
        )

    def with_class_order(self, names: Sequence[str]) -> CocoDataset:
        """The same data with the labels in the order of `names`, which are its class names."""
        other, place = copy(self), {name: label for label, name in enumerate(names)}
        other.class_names = tuple(names)
        ids = dict(zip(self.class_names, self.category_ids, strict=True))
        other.category_ids = tuple(ids[name] for name in names)
        other._labels = np.array([place[name] for name in self.class_names])[self._labels]
        return other

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def file_names(self) -> list[str]:
        """(I,) names of the image files, relative to `image_dir`."""
        return list(self._tables.file_names)

    @property
    def sizes(self) -> np.ndarray:
        """(I, 2) int64 height, width of the image files in pixels."""
        return self._sizes

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.image_dir / self._tables.file_names[index]

    def sample(self, index: int) -> Sample:
        """An image and the objects to train on.

        Raises `UserError` naming the file when it cannot be read, or is not of the size that its annotations are for.
        """
        path, size = self.path(index), tuple(self._sizes[index].tolist())
        image = self._read(index)
        if image.shape[:2] != size:
            raise UserError(size_problem(path, image.shape[:2], size, self.options))
        rows = slice(self._offsets[index], self._offsets[index + 1])
        kept = self._trained_on[rows]
        return Sample(
            image=image,
            boxes=self._boxes[rows][kept],
            labels=self._labels[rows][kept],
            image_id=int(self.image_ids[index]),
            file_name=self._tables.file_names[index],
            original_size=size,
        )

    def _read(self, index: int) -> np.ndarray:
        try:
            return read_image(self.path(index), self.options)
        except UserError as error:
            if not str(error).endswith("no such image file"):
                raise
            hint = SimilarNames(self.image_dir).hint(self._tables.file_names[index])
            raise UserError(f"{error}{hint}") from error

    def boxes_per_class(self) -> np.ndarray:
        """(C,) int64 number of boxes to train on."""
        return np.bincount(self._labels[self._trained_on], minlength=len(self.class_names))

    def summary(self) -> str:
        """One line for the log: what there is, and what was changed."""
        counts = self.counts
        unused = [name for name, number in zip(self.class_names, self.boxes_per_class(), strict=True) if not number]
        remarks = {
            "images without boxes": counts.images_without_boxes,
            "crowd regions, not trained on": counts.crowd,
            "boxes clipped to their image": counts.clipped,
            "degenerate boxes dropped": counts.degenerate,
            "unreadable images skipped": counts.unreadable,
            f"classes without boxes ({_some(unused)})": len(unused),
            f"categories left out, which are headings or no classes ({_some(self._classes.left_out)})": len(
                self._classes.left_out
            ),
        }
        main = f"{counts.images} images, {counts.boxes} boxes, {len(self.class_names)} classes"
        return "; ".join((f"{self.json_path.name}: {main}", *(f"{n} {what}" for what, n in remarks.items() if n)))

    def check_trainable(self) -> None:
        """Raise `UserError`, saying why, where there is no box to train on."""
        counts = self.counts
        if counts.boxes:
            return
        if not self._has_annotations:
            why = "it has no list 'annotations', as the file of a test split; name one with boxes in train_json"
        elif not len(self._tables.boxes):
            why = "its list of annotations is empty" if not counts.unreadable else "the images left have no annotation"
        else:
            why = f"{counts.degenerate} of its annotations are degenerate, of no size or outside their image"
            if counts.crowd:
                why = f"{counts.crowd} of its annotations are crowd regions (set iscrowd 0 if they are single objects)"
                why += f", {counts.degenerate} are degenerate" if counts.degenerate else ""
        raise UserError(f"{self.json_path}: has no box to train on: {why}")

    def coco_dict(self) -> dict:
        """What `pycocotools.coco.COCO.dataset` holds after reading a complete file of these images, for evaluation.

        Boxes are as in the file, not clipped, so that results compare with everybody else's; crowd regions stay crowd;
        degenerate boxes, which nothing can match, are left out. Missing areas become width x height. Annotations are
        renumbered from 1, because COCOeval takes the id 0 for "unmatched".
        """
        tables, rows = self._tables, np.flatnonzero(self._valid)
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.nan_to_num(tables.boxes[:, 2:].prod(axis=1))
        areas = np.where(np.isnan(tables.areas), whole, tables.areas)
        annotations = [
            {
                "id": number,
                "image_id": int(self.image_ids[tables.image_rows[row]]),
                "category_id": self.category_ids[self._labels[row]],
                "bbox": tables.boxes[row].tolist(),
                "area": float(areas[row]),
                "iscrowd": int(tables.crowd[row]),
            }
            for number, row in enumerate(rows, start=1)
        ]
        images = [
            {"id": image_id, "file_name": name, "height": height, "width": width}
            for image_id, name, (height, width) in zip(
                self.image_ids.tolist(), self.file_names, self._sizes.tolist(), strict=True
            )
        ]
        ids_and_names = zip(self.category_ids, self.class_names, strict=True)
        categories = [{"id": category_id, "name": name} for category_id, name in ids_and_names]
        return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def _unreadable_images(path: Path, problems: list[str], images: int) -> str:
    listed = "".join(f"\n  {problem}" for problem in problems[:_NAMED_AT_MOST])
    more = f"\n  and {len(problems) - _NAMED_AT_MOST} more" if len(problems) > _NAMED_AT_MOST else ""
    advice = "Every image is: is the image folder the right one?"
    if len(problems) < images:
        advice = 'Repair them, or leave them out with unreadable = "skip".'
    if any(IS_THERE in problem for problem in problems):
        advice = "Write file_name in the annotations as the files are named, or rename the files."
    return f"{path}: {len(problems)} of its {images} images are unreadable:{listed}{more}\n{advice}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_AT_MOST]) + (", ..." if len(names) > _NAMED_AT_MOST else "")
