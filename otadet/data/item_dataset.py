"""The data set of somebody's Python object."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from otadet.data.annotations import Annotations
from otadet.data.class_list import SourceClasses, match_classes
from otadet.data.dataset import DetectionDataset
from otadet.data.image_files import ImageFiles
from otadet.data.image_names import ImageNames
from otadet.data.images import DEFAULT
from otadet.data.items import Item, Items, read_item
from otadet.data.sample import Sample
from otadet.data.transforms.objects import is_degenerate
from otadet.data.view import View
from otadet.errors import UserError
from otadet.names import clean_class_names


class ItemDataset(DetectionDataset):
    """Somebody's object of images with their objects.

    Each item is looked at once, for its objects, and read anew whenever it is wanted.

    So an object may change its items at random where they are trained on; those that are measured must stay the same.

    Args:
        items: the object.
        own_names: the classes that its numbers mean, or None where its labels are names.
        class_names: the classes in the order of the labels, as in `DetectionDataset`.
        fixed: raise `UserError` where an item is not what it was.
        notes: for the log.

    Raises `UserError` naming the item that is no image with its objects.
    """

    def __init__(
        self,
        items: Items,
        own_names: Sequence[str] | None,
        *,
        class_names: Sequence[str] | None = None,
        fixed: bool = False,
        notes: Sequence[str] = (),
    ) -> None:
        self._items, self._fixed = items, fixed
        self.options, self.notes, self.warnings = DEFAULT, tuple(notes), []
        looked_at = [_without_pixels(read_item(items, row)) for row in range(len(items))]
        if not looked_at:
            raise UserError(f"{items.name()}: has no items")
        # Thousands of objects, which loader processes would copy as they count references: kept only to compare with.
        self._first = looked_at if fixed else []
        self._own = _own_classes(items, looked_at, own_names, class_names)
        self.annotations = self._annotations(looked_at)
        classes = match_classes(self.annotations.source, self.annotations.classes, class_names)
        self.class_names, self.source_ids, self._left_out = classes.names, classes.source_ids, classes.left_out
        self._label_of = classes.labels
        self.sizes = self.annotations.image_sizes
        # Their sizes are what is asked for; nothing is read of them.
        self.images = ImageFiles.whole(Path(), self.annotations.file_names, self.sizes, DEFAULT)
        self.labels = classes.labels[self.annotations.class_rows]
        self._set_boxes(unreadable=0)

    def _annotations(self, items: Sequence[Item]) -> Annotations:
        counts = [len(item.boxes) + len(item.ignored) for item in items]
        # A region to ignore is of no class, and is counted as of the first.
        rows = [[*(self._own[label] for label in item.labels), *[0] * len(item.ignored)] for item in items]
        class_rows = np.array([row for of_item in rows for row in of_item], dtype=np.int64)
        boxes = np.concatenate([part for item in items for part in (item.boxes, item.ignored)])
        classes = tuple(dict.fromkeys(name for name in self._own if isinstance(name, str)))
        number = len(classes)
        return Annotations(
            source=Path(self._items.name()),
            image_dir=Path(),
            classes=SourceClasses(
                tuple(range(1, number + 1)), classes, np.bincount(class_rows, minlength=number), np.zeros(number, bool)
            ),
            image_ids=np.arange(1, len(items) + 1),
            file_names=ImageNames.of([self._items.name(row) for row in range(len(items))]),
            image_sizes=np.array([item.size for item in items], dtype=np.int64),
            image_rows=np.repeat(np.arange(len(items)), counts),
            class_rows=class_rows,
            boxes=boxes,
            areas=np.full(len(boxes), np.nan),
            ignored=np.concatenate(
                [np.repeat([False, True], (len(item.boxes), len(item.ignored))) for item in items]
            ).astype(bool),
            why_no_boxes="" if len(boxes) else "no item has one",
            ignored_hint="give them as boxes",
        )

    def view(self, index: int) -> View:
        """That of `sample`, whose image is there with it."""
        return View.of(self.sample(index))

    def sample(self, index: int) -> Sample:
        """The item as it is now, in arrays of its own. Raises `UserError` naming one that cannot be had, or is not what
        it was."""
        item = read_item(self._items, index)
        if self._fixed and not item.same_objects(self._first[index]):
            raise UserError(
                f"{self._items.name(index)}: is not what it was when it was first looked at; what is measured must "
                "stay the same: leave random changes to the experiment's augment"
            )
        unknown = [label for label in item.labels if label not in self._own]
        if unknown:
            raise UserError(f"{self._items.name(index)}: has a label {unknown[0]!r}, which no item had before")
        height, width = item.size
        corner = np.array((width, height, width, height), dtype=np.float64)
        with np.errstate(invalid="ignore"):
            boxes, ignored = (part.clip(0, corner).astype(np.float32) for part in (item.boxes, item.ignored))
        kept = np.isfinite(item.boxes).all(axis=1) & ~is_degenerate(boxes)
        rows = np.array([self._own[label] for label in item.labels], dtype=np.int64)
        return Sample(
            # A transform may change pixels in place: those of the object stay, and those of PIL cannot be written to.
            image=item.image.copy(),
            boxes=boxes[kept],
            labels=self._label_of[rows][kept],
            image_id=int(self.image_ids[index]),
            file_name=self.annotations.file_names[index],
            original_size=item.size,
            ignored=ignored[np.isfinite(item.ignored).all(axis=1) & ~is_degenerate(ignored)],
        )

    def path(self, index: int) -> Path:
        """No file: the name of the item."""
        return Path(self._items.name(index))

    def with_class_order(self, names: Sequence[str]) -> DetectionDataset:
        other = super().with_class_order(names)
        assert isinstance(other, ItemDataset)
        place = {name: label for label, name in enumerate(names)}
        order = np.array([place[name] for name in self.class_names])
        other._label_of = np.where(self._label_of < 0, -1, order[self._label_of])
        return other

    def reduced_for(self, transform: Any) -> DetectionDataset:
        """The same: only image files can be decoded at a part of their size."""
        return copy(self)

    def cached(self, cache: Any) -> DetectionDataset:
        """Raises `UserError`: an item may be another one each time."""
        raise UserError(f"{self._items.name()}: items of Python objects are not cached; set run.cache none")


def _without_pixels(item: Item) -> Item:
    """With an image that has the size alone."""
    return Item(np.broadcast_to(np.uint8(0), (*item.size, 3)), item.boxes, item.labels, item.ignored)


def _own_classes(
    items: Items, looked_at: Sequence[Item], names: Sequence[str] | None, wanted: Sequence[str] | None
) -> dict[int | str, int]:
    """Label of an item, a number or a name -> row of its class; every class is there by its name."""
    used = {label for item in looked_at for label in item.labels}
    numbers, words = {one for one in used if isinstance(one, int)}, {one for one in used if isinstance(one, str)}
    if names is None:
        if numbers or not (words or wanted):
            what = f"labels are numbers such as {min(numbers)}" if numbers else "no item has a label"
            raise UserError(f"{items.name()}: {what}; say what the classes are, as class_names of PythonData")
        names = sorted(words) or list(wanted or ())
    names = clean_class_names(list(names), "class_names")
    wrong = [one for one in sorted(numbers) if not 0 <= one < len(names)]
    if wrong:
        where = next(row for row, item in enumerate(looked_at) if wrong[0] in item.labels)
        raise UserError(f"{items.name(where)}: has the label {wrong[0]}, but {len(names)} classes are numbered from 0")
    if missing := sorted(words - {*names}):
        raise UserError(f"{items.name()}: has the class {missing[0]!r}, which is not among class_names")
    return {label: row for row, name in enumerate(names) for label in (row, name)}
