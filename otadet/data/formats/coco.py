"""Reads, validates and finds COCO instance annotations. Shape letters: `S` images, `M` annotations, `F` categories."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from otadet.boxes import xywh_to_xyxy
from otadet.data.annotations import Annotations, BrokenEntry, check_image_dir
from otadet.data.formats.coco_classes import class_names, classes_of
from otadet.data.formats.coco_columns import NO_OUTLINE, OUTLINED, AnnotationColumns
from otadet.data.formats.coco_faults import objects_alone, usable_categories, usable_images
from otadet.data.formats.coco_files import CocoFile, coco_files, first_file_names, image_folder
from otadet.data.formats.coco_image_names import FileNames, file_names, name_of_url
from otadet.data.formats.coco_outlines import outline_box
from otadet.data.formats.folders import folder_of
from otadet.data.formats.json_file import load_json
from otadet.data.formats.json_section import TWICE, Section, what_is_wrong_with
from otadet.data.formats.layout import ALL, NOT_LISTED, SPLITS, Layout, Source, Undecided, left_out, said_split
from otadet.data.image_file import shown
from otadet.data.image_names import ImageNames
from otadet.errors import UserError

_READ_KEYS = frozenset(
    ("images", "annotations", "categories", "id", "file_name", "name", "image_id", "category_id", "bbox")
)
_PLAIN = re.compile(r"(?:instances[-_. ]?)?([a-z]+)[-_. ]?\d*")
_EMPTY = "its list of annotations is empty"
_NO_ANNOTATIONS = "it has no list 'annotations', as the file of a test split; name one with boxes in train_json"


def read_coco(
    path: str | Path,
    image_dir: str | Path | None = None,
    *,
    outside_images: bool = False,
    lenient: bool = False,
) -> Annotations:
    """The annotations of a COCO instances file, its categories sorted by id. Crowds are ignored regions.

    Needed are `images` (id, file_name, or LVIS's coco_url) and `categories` (id, name), and of `annotations`, if there
    are any, image_id, category_id and bbox, or a segmentation in its place; everything else may be missing. Class names
    are cleaned (`otadet.names`).

    Args:
        path: the file.
        image_dir: the folder that file names are relative to; None: that of the file.
        outside_images: whether a file_name may be absolute or lead out of that folder. Links in it are followed.
        lenient: for whoever looks for faults: take boxes of categories that the file does not list, too, and leave out
            what cannot be used of entries that are wrong, and say which these are, in place of an error.

    Raises `UserError` naming the file and the entry when it is no such file, contradicts itself, or names what cannot
    be a file; and for an image folder that is none.
    """
    path = Path(path)
    if image_dir is not None:
        check_image_dir(path, Path(image_dir))
    broken: list[BrokenEntry] | None = [] if lenient else None
    annotations = AnnotationColumns(path, broken)
    content = load_json(path, _entry, {"annotations": annotations.take_rows})
    folder = path.parent if image_dir is None else Path(image_dir)
    images, categories, left_out = _sections(path, content, folder, outside_images, broken)
    annotations.check_ids()

    image_ids = images.unique_ids()
    unlisted = []
    if lenient:
        annotations.keep_references("image_id", image_ids, np.array(left_out, dtype=np.int64))
        unlisted = _list_others(categories, annotations)
    category_ids = categories.unique_ids()
    by_id = np.argsort(category_ids)
    category_rows = annotations.references("category_id", category_ids[by_id])
    files = file_names(images, folder, outside_images, again=lenient)
    return Annotations(
        source=path,
        image_dir=folder,
        classes=classes_of(categories, category_ids, by_id, np.bincount(category_rows, minlength=len(by_id)), broken),
        image_ids=image_ids,
        file_names=ImageNames.of(files.names),
        image_sizes=np.stack((images.sides("height"), images.sides("width")), axis=1),
        image_rows=annotations.references("image_id", image_ids),
        class_rows=category_rows,
        boxes=_corners(annotations),
        areas=_finite_or_nan(annotations.column("area")),
        ignored=annotations.column("iscrowd") > 0,
        why_no_boxes="" if len(annotations) else _EMPTY if "annotations" in content else _NO_ANNOTATIONS,
        ignored_hint="set iscrowd 0 if they are single objects",
        dropped=_repaired(annotations.outlined, files),
        broken=tuple(broken or ()),
        unlisted=tuple(unlisted),
    )


def _sections(
    path: Path, content: dict[str, Any], folder: Path, outside: bool, broken: list[BrokenEntry] | None
) -> tuple[Section, Section, list[int]]:
    """The lists of images and of categories, and the ids of images that are left out, where wrong entries are noted.

    Raises `UserError` for a list that is empty, and where that of annotations is none.
    """
    left_out: list[int] = []
    if problem := isinstance(content, dict) and what_is_wrong_with(content):
        raise UserError(f"{shown(path)}: {problem}")
    if broken is None:
        images, categories = (Section(path, name, content) for name in ("images", "categories"))
    else:
        images, left_out = _usable_images(path, content, folder, outside, broken)
        categories = _usable_categories(path, content, broken)
    for section in (images, categories):
        if not section.rows:
            raise UserError(f"{shown(path)}: its list of {section.name} is empty")
    if "annotations" in content:
        # They have been taken as they were read; what is no list was not.
        Section(path, "annotations", content)
    return images, categories, left_out


def _repaired(outlined: int, files: FileNames) -> tuple[tuple[str, int], ...]:
    """What was read otherwise than it is written, and how often."""
    counts = {
        "outlines turned into their box": outlined,
        "file names with backslashes read as slashes": files.backslashes,
        "file names with folders of another machine found by their end": files.ends,
    }
    return tuple((what, number) for what, number in counts.items() if number)


def _usable_images(
    path: Path, content: Any, folder: Path, outside: bool, broken: list[BrokenEntry]
) -> tuple[Section, list[int]]:
    checks = {
        "id": lambda one: one.whole_numbers("id"),
        "file_name": lambda one: file_names(one, folder, outside),
        "width": lambda one: one.sides("width"),
        "height": lambda one: one.sides("height"),
    }
    return usable_images(objects_alone(path, "images", content, broken), checks, broken)


def _usable_categories(path: Path, content: Any, broken: list[BrokenEntry]) -> Section:
    checks = {"id": lambda one: one.whole_numbers("id"), "name": class_names}
    return usable_categories(objects_alone(path, "categories", content, broken), checks, broken)


def _list_others(categories: Section, annotations: AnnotationColumns) -> list[str]:
    """Add the categories of annotations that the file does not list to those that it does. Returns their names."""
    others = np.setdiff1d(annotations.column("category_id"), categories.unique_ids()).tolist()
    names = [f"category {number}{NOT_LISTED}" for number in others]
    categories.rows += [{"id": number, "name": name} for number, name in zip(others, names, strict=True)]
    return names


@dataclass(frozen=True)
class CocoSource:
    """A COCO file and the folder of its images."""

    path: Path
    image_dir: Path
    outside_images: bool = False
    """As in `read_coco`."""
    lenient: bool = False

    def read(self) -> Annotations:
        """As `read_coco`."""
        return read_coco(self.path, self.image_dir, outside_images=self.outside_images, lenient=self.lenient)


def find_coco(folder: Path, *, outside_images: bool = False) -> Layout | None:
    """The COCO files of a folder, by split; None where it has none.

    They may be called anything, and lie in the folder or in folders below. Which split one is of, its name says, or
    else that of its folder: `instances_train2017.json`, `train/_annotations.coco.json`. Of several for a split, those
    called instances come before keypoints, captions and the like, and `train.json` before `train_old.json`. Where the
    first images of each are found, there the others are looked for. Label Studio's and CVAT's exports as COCO are such
    folders; labelme's own files are not.
    """
    by_split: dict[str, list[CocoFile]] = defaultdict(list)
    for file in coco_files(folder):
        by_split[file.split].append(file)
    if not by_split:
        return None
    # Beside others, a file without a split is perhaps everything once more, perhaps a part: its name does not say.
    nameless = by_split.pop(ALL, []) if len(by_split) > 1 else []
    kept = {split: _instances(by_split[split]) for split in (*SPLITS, ALL) if split in by_split}
    splits: dict[str, Source] = {split: _source(folder, split, files, outside_images) for split, files in kept.items()}
    if nameless and "train" not in splits:
        splits["train"] = Undecided(_which(folder, "train", nameless))
    why = ", ".join(_one_of(folder, files) for files in kept.values())
    others = [file for split, files in kept.items() for file in by_split[split] if file not in files]
    for files, reason in ((others, ""), (nameless, ", which names no split")):
        why += left_out([shown(file.path.relative_to(folder)) for file in files], reason)
    return Layout("COCO", why, splits)


def coco_file(path: Path, *, outside_images: bool = False) -> Layout:
    """One COCO file, of all images that it lists. Raises `UserError` where it is none."""
    names = first_file_names(path)
    if names is None:
        raise UserError(
            f"{shown(path)}: is no COCO file, which has lists named images, annotations and categories; export what is "
            "in it as COCO, YOLO or Pascal VOC"
        )
    file, folder = CocoFile(Path(os.path.abspath(path)), names, ALL), folder_of(path)
    # annotations/all.json is beside images/.
    folder = folder.parent if folder.name.lower() == "annotations" else folder
    source = CocoSource(path, image_folder(file, folder, outside_images), outside_images)
    return Layout("COCO", path.name, {ALL: source})


def _one_of(folder: Path, files: list[CocoFile]) -> str:
    """What is said of the files of a split; which of several it is may never be asked."""
    name = shown(files[0].path.relative_to(folder))
    return f"{name} or {shown(files[1].path.relative_to(folder))}" if len(files) > 1 else name


def _instances(files: list[CocoFile]) -> list[CocoFile]:
    """Those called instances, and of these the ones whose name is no more than that of the split."""
    files = [file for file in files if "instances" in file.path.stem.lower()] or files
    plain = [file for file in files if (name := _PLAIN.fullmatch(file.path.stem.lower())) and said_split(name[1])]
    return plain or files


def _source(folder: Path, split: str, files: list[CocoFile], outside_images: bool) -> Source:
    if len(files) > 1:
        return Undecided(_which(folder, split, files))
    return CocoSource(files[0].path, image_folder(files[0], folder, outside_images), outside_images)


def _which(folder: Path, split: str, files: list[CocoFile]) -> str:
    listed = ", ".join(shown(file.path.relative_to(folder)) for file in files)
    field = f"{'train' if split == ALL else split}_json"
    return (
        f"{shown(folder)}: its COCO files do not say which is the {field.removesuffix('_json')} split ({listed}); name "
        f"it by {field} of CocoData({str(folder)!r}), or call it {split if split != ALL else 'train'}.json"
    )


def _entry(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen and key in _READ_KEYS:
                # Said where it is known which entry it is.
                entry[TWICE] = key
            seen.add(key)
    if "coco_url" in entry and "file_name" not in entry and isinstance(entry["coco_url"], str):
        entry["file_name"] = name_of_url(entry["coco_url"])
    # The bulk of a COCO file; dropping them while parsing saves gigabytes in every process.
    segmentation = entry.pop("segmentation", None)
    if segmentation and entry.get("bbox") in (None, []):
        box = outline_box(segmentation)
        if box is None:
            entry[NO_OUTLINE] = True
        else:
            entry["bbox"], entry[OUTLINED] = box, True
    return entry


def _corners(annotations: AnnotationColumns) -> np.ndarray:
    # Numbers may be beyond all bounds, and then are not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        return xywh_to_xyxy(annotations.column("bbox", (4,)))


def _finite_or_nan(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)
