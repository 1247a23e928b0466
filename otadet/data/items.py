"""Data that somebody's Python object holds: anything with `__len__` and `__getitem__`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from otadet.data.formats.json_file import brief_value
from otadet.data.sample import Sample, no_boxes
from otadet.errors import UserError
from otadet.names import MAX_CLASS_NAME, clean_name, printable

EXPECTED = "expected is (image, boxes, labels), a dictionary with these, or a Sample"


class Items:
    """An object of items, or some of them, that is only looked into when an item is asked for."""

    def __init__(self, items: Any, rows: Sequence[int] | None = None) -> None:
        if not hasattr(type(items), "__len__") or not hasattr(type(items), "__getitem__"):
            raise UserError(f"{type(items).__name__}: has no __len__ and __getitem__, by which items are taken")
        self.items = items
        self.rows = rows
        """Which of them; None: all."""

    def __len__(self) -> int:
        """Raises `UserError` where the object does not say how many it has."""
        if self.rows is not None:
            return len(self.rows)
        try:
            return len(self.items)
        except Exception as error:
            raise UserError(f"{self.name()}: __len__ fails: {_said(error)}") from error

    def __getitem__(self, row: int) -> Any:
        return self.items[row if self.rows is None else self.rows[row]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Items) and self.items is other.items and self.rows == other.rows

    def __hash__(self) -> int:
        return id(self.items)

    def name(self, row: int | None = None) -> str:
        """For messages: of the object, or of one of its items."""
        kind = type(self.items).__name__
        return kind if row is None else f"{kind}[{row if self.rows is None else self.rows[row]}]"


@dataclass(frozen=True)
class Item:
    """One image and its objects, checked."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    boxes: np.ndarray
    """(G, 4) float64 xyxy in pixels."""
    labels: tuple[int | str, ...]
    """(G,) numbers, or names of classes."""
    ignored: np.ndarray
    """(I, 4) float64."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def same_objects(self, other: Item) -> bool:
        """Whether sizes, boxes and labels are the same."""
        return (
            (self.size, self.labels) == (other.size, other.labels)
            and np.array_equal(self.boxes, other.boxes, equal_nan=True)
            and np.array_equal(self.ignored, other.ignored, equal_nan=True)
        )


def read_item(items: Items, row: int) -> Item:
    """The item of that number. Raises `UserError` naming it where it is no image with its objects."""
    name = items.name(row)
    try:
        value = items[row]
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: fails: {_said(error)}") from error
    image, given, labels, ignored, crowds = _parts(name, value)
    regions, boxes, labels = _boxes(name, "ignored", ignored), _boxes(name, "boxes", given), _labels(name, labels)
    if len(boxes) != len(labels):
        raise UserError(f"{name}: has {len(boxes)} boxes, but {len(labels)} labels")
    if crowds is None:
        return Item(_pixels(name, image), boxes, labels, regions)
    is_crowd = _flags(name, crowds, len(boxes))
    single = tuple(label for label, crowd in zip(labels, is_crowd.tolist(), strict=True) if not crowd)
    return Item(_pixels(name, image), boxes[~is_crowd], single, np.concatenate((regions, boxes[is_crowd])))


def _said(error: Exception) -> str:
    """What somebody else's error says, in one line."""
    return printable(f"{type(error).__name__}: {error}")


def _parts(name: str, value: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Image, boxes, labels, ignored regions, and which of the boxes are crowds; None for the last: nothing says."""
    if isinstance(value, Sample):
        return value.image, value.boxes, value.labels, value.ignored, None
    if isinstance(value, Mapping) and {"image", "boxes", "labels"} <= value.keys():
        ignored = value.get("ignored", no_boxes())
        return value["image"], value["boxes"], value["labels"], ignored, value.get("iscrowd")
    if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[1], Mapping):
        # As torchvision's data sets have it.
        return _parts(name, {"image": value[0], **value[1]})
    if isinstance(value, tuple | list) and len(value) == 3:
        return (*value, no_boxes(), None)
    keys = f" with {', '.join(map(str, value))}" if isinstance(value, Mapping) else ""
    raise UserError(f"{name}: is a {type(value).__name__}{keys}; {EXPECTED}")


def _pixels(name: str, image: Any) -> np.ndarray:
    if hasattr(image, "convert") and hasattr(image, "getbands"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise UserError(
            f"{name}: its image is {pixels.dtype} of shape {pixels.shape}; expected is uint8 RGB (height, width, 3), "
            "or a PIL image"
        )
    return pixels


def _flags(name: str, values: Any, number: int) -> np.ndarray:
    """(G,) bool, as torchvision's data sets have `iscrowd`."""
    flags = np.asarray(values)
    if flags.shape != (number,) or (flags.size and (flags.dtype.kind not in "bui" or not np.isin(flags, (0, 1)).all())):
        raise UserError(f"{name}: its iscrowd is {brief_value(flags.tolist())}; expected is 0 or 1 for each box")
    return flags.astype(bool)


def _boxes(name: str, what: str, values: Any) -> np.ndarray:
    # torchvision's boxes say what they are.
    written = getattr(getattr(values, "format", None), "name", "XYXY")
    if written != "XYXY":
        raise UserError(f"{name}: its {what} are {written}; expected is XYXY, x1 y1 x2 y2 in pixels: convert them")
    try:
        boxes = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{name}: its {what} are no numbers: {error}") from error
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise UserError(f"{name}: its {what} are of shape {boxes.shape}; expected is (G, 4), x1 y1 x2 y2 in pixels")
    return boxes.reshape(-1, 4)


def _labels(name: str, values: Any) -> tuple[int | str, ...]:
    listed = np.asarray(values).tolist()
    if not isinstance(listed, list) or not all(type(label) in (int, str) for label in listed):
        # An empty array of floats is no label at all.
        if listed == []:
            return ()
        raise UserError(
            f"{name}: its labels are {brief_value(listed)}; expected are whole numbers, or names of classes"
        )
    cleaned = tuple(clean_name(label) if isinstance(label, str) else label for label in listed)
    for label, given in zip(cleaned, listed, strict=True):
        if isinstance(label, str) and not 0 < len(label) <= MAX_CLASS_NAME:
            raise UserError(
                f"{name}: has the label {brief_value(given)}; a name of a class has 1 to {MAX_CLASS_NAME} characters"
            )
    return cleaned
