"""Data that Python objects hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from otadet.data.dataset import DetectionDataset
from otadet.data.item_dataset import ItemDataset
from otadet.data.items import Items
from otadet.data.made_split import SplitRule
from otadet.data.splits import Split
from otadet.errors import UserError
from otadet.exp.data.base import Data
from otadet.limits import Limits
from otadet.names import clean_class_names


@dataclass(frozen=True)
class PythonData(Data):
    """Any objects with `__len__` and `__getitem__`, such as a list, or a data set of PyTorch.

    An item is `(image, boxes, labels)`, `(image, {"boxes": ..., "labels": ...})`, a dictionary with the three, or a
    `Sample`: an image (H, W, 3) uint8 RGB, or of PIL; boxes (G, 4) as x1 y1 x2 y2 in pixels; labels (G,), numbers from
    0 or names of classes; a dictionary may have `ignored` regions (I, 4), and `iscrowd` (G,), by which boxes are such
    regions. Each item is looked at once before the start.
    """

    train_items: Any
    val_items: Any = None
    """None: a share of the training items, which are then not to change at random."""
    test_items: Any = None
    class_names: tuple[str, ...] | None = None
    """By label; None: the names that the training items have for labels, sorted."""
    val_share: Annotated[float, Limits(0, 1)] = SplitRule.share
    """Without `val_items`: how many of the training items are for validation; 0: that is an error; 1: all, none of
    which can be trained on then."""
    split_seed: Annotated[int, Limits(0, 2**62)] = 0
    """Of the split that is made: a function of the items' numbers and of this."""

    def __post_init__(self) -> None:
        for name in ("train_items", "val_items", "test_items"):
            items = getattr(self, name)
            if items is not None and not isinstance(items, Items):
                # What is in a list is nobody's business but its data set's.
                object.__setattr__(self, name, Items(items))
        super().__post_init__()

    def check(self) -> None:
        if self.train_items is None:
            raise UserError("train_items none: there is nothing to train on")
        if self.class_names is not None:
            object.__setattr__(self, "class_names", clean_class_names(self.class_names, "class_names"))

    def without_prescan(self) -> PythonData:
        return self

    def untrained(self) -> PythonData:
        if self.val_items is not None or self._rule.is_set:
            return self
        return replace(self, val_share=1.0)

    def split(self, name: str) -> Split:
        """Of what is measured; the annotations of each item at the first look."""
        dataset = self._dataset(name, None, 16)
        return Split(dataset.annotations, dataset.notes)

    def _dataset(self, name: str, class_names: Sequence[str] | None, image_bits: int) -> DetectionDataset:
        items, note = self._items(name)
        return ItemDataset(
            items,
            self.class_names,
            class_names=self.class_names if class_names is None else class_names,
            fixed=name != "train",
            notes=[f"Python: {items.name()}, {len(items)} items", *filter(None, (note,))],
        )

    def _items(self, name: str) -> tuple[Items, str]:
        given = {"train": self.train_items, "val": self.val_items, "test": self.test_items}[name]
        if name == "test" and given is None:
            raise UserError("data.test_items: there is no test split")
        if name == "test" or self.val_items is not None:
            return given, ""
        self._rule.check(
            name, no_val="data.val_items: there is no validation split; give one, or set data.val_share 0.2"
        )
        if not self.val_share:
            return given, ""
        if self.val_share == 1:
            return self.train_items, "no val_items, so all are (val_share 1)"
        rows = range(len(self.train_items))
        try:
            is_val = self._rule.in_val([str(row) for row in rows])
        except UserError as error:
            raise UserError(f"{self.train_items.name()}: {error}") from error
        chosen = [row for row in rows if is_val[row] == (name == "val")]
        note = f"no val_items, so they are made: {is_val.sum()} of {len(is_val)} items (val_share {self.val_share:g})"
        return Items(self.train_items.items, chosen), note

    @property
    def _rule(self) -> SplitRule:
        return SplitRule(self.val_share, self.split_seed)
