"""One XML file of Pascal VOC: the size of an image, and its objects. Shape letter: `M` boxes."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from otadet.data.annotations import BrokenEntry, note_wrong
from otadet.data.formats.json_file import brief_value
from otadet.data.formats.json_section import MAX_SIDE
from otadet.data.formats.xml_file import parse_xml
from otadet.data.image_file import shown
from otadet.errors import UserError
from otadet.names import MAX_CLASS_NAME, clean_name

_FLAGS = {"0": False, "1": True, "false": False, "true": True, "": False, "unspecified": False}


@dataclass
class VocObjects:
    """The objects of the files read so far, and in which of them they are."""

    class_names: dict[str, int] = field(default_factory=dict)
    """Clean name -> its number, in the order of the files."""
    file_rows: array = field(default_factory=lambda: array("q"))
    """(M,) number of the file."""
    class_rows: array = field(default_factory=lambda: array("q"))
    """(M,) number of the class."""
    corners: array = field(default_factory=lambda: array("d"))
    """(M * 4,) xyxy in pixels."""
    ignored: array = field(default_factory=lambda: array("b"))
    """(M,) 1 where it is `difficult`."""
    sizes: array = field(default_factory=lambda: array("q"))
    """(files * 2,) height, width in pixels; 0 where the file does not say."""
    broken: list[BrokenEntry] | None = None
    """Where files and objects that are wrong are left out, and said here; None: they are errors."""
    _known: dict[str | None, int] = field(default_factory=dict)

    def add(self, path: str, data: bytes | UserError) -> str:
        """Add those of a file; returns what it has for `filename`, without folders, perhaps empty.

        data: its bytes, or why they cannot be read.

        Corners are counted from 1 in the files, and the lower right one is part of the box: from 0 on, as the devkit
        has it, that is xmin - 1, ymin - 1, xmax, ymax. Raises `UserError` naming the file and the object, without
        `broken`.
        """
        row = len(self.sizes) // 2
        try:
            if isinstance(data, UserError):
                raise data
            root, sides = _opened(path, data)
        except UserError as error:
            if self.broken is None:
                raise
            self.broken.append(BrokenEntry.of(path, error))
            self.sizes.extend((0, 0))
            return ""
        self.sizes.extend(sides)
        entries = root.findall("object")
        for place, entry in enumerate(entries):
            try:
                self._add(entry, row)
            except ValueError as error:
                note_wrong(path, f"object[{place}]: {error}", self.broken)
        if not entries and root.find(".//bndbox") is not None:
            note_wrong(
                path,
                "has a bndbox, but no object right in annotation: it must be <annotation><object><bndbox>",
                self.broken,
            )
        # Written on another machine, perhaps on another system.
        return (root.findtext("filename") or "").strip().replace("\\", "/").rsplit("/", 1)[-1]

    def _add(self, entry: Element, row: int) -> None:
        boxes = entry.findall("bndbox")
        if len(boxes) != 1:
            raise ValueError(_not_one_box(entry, len(boxes)))
        (box,) = boxes
        texts = [box.findtext(key) for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            xmin, ymin, xmax, ymax = map(float, texts)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            xmin = None  # type: ignore[assignment]
        if xmin is None or "_" in "".join(texts):  # type: ignore[arg-type]
            raise ValueError(_wrong_number(dict(zip(("xmin", "ymin", "xmax", "ymax"), texts, strict=True))))
        name = entry.findtext("name")
        number = self._known.get(name)
        if number is None:
            number = self._known[name] = self.class_names.setdefault(_class_name(name), len(self.class_names))
        difficult = (entry.findtext("difficult") or "").strip().lower()
        if difficult not in _FLAGS:
            raise ValueError(f"difficult is {brief_value(difficult)}; expected is 0 or 1")
        self.file_rows.append(row)
        self.class_rows.append(number)
        self.corners.extend((xmin - 1, ymin - 1, xmax, ymax))
        self.ignored.append(_FLAGS[difficult])


def _opened(path: str, data: bytes) -> tuple[Element, tuple[int, int]]:
    """The root element, and height and width of the image."""
    root = parse_xml(path, data)
    if root.tag != "annotation":
        raise UserError(f"{shown(path)}: its outermost element is {brief_value(root.tag)}, not annotation")
    size = root.find("size")
    return root, (_side(path, size, "height"), _side(path, size, "width"))


def _not_one_box(entry: Element, boxes: int) -> str:
    if boxes:
        return f"has {boxes} bndbox; expected is one: give each an object of its own"
    if entry.find("polygon/pt") is not None:
        return "has no bndbox but a polygon, as LabelMe writes it: export as Pascal VOC, COCO or YOLO"
    if entry.find("robndbox") is not None:
        return "has no bndbox but a turned one (robndbox), which is not read: export upright boxes"
    return "has no bndbox; expected is a box with xmin, ymin, xmax and ymax"


def _class_name(name: str | None) -> str:
    if name is None or not clean_name(name):
        raise ValueError("has no name of a class")
    if len(name) > MAX_CLASS_NAME:
        raise ValueError(f"name {brief_value(name)} has {len(name)} characters; at most {MAX_CLASS_NAME} are allowed")
    return clean_name(name)


def _wrong_number(texts: dict[str, str | None]) -> str:
    for key, text in texts.items():
        if text is None:
            return f"its bndbox has no {key}"
        try:
            float(text.replace("_", "?"))
        except ValueError:
            return f"{key} is {brief_value(text)}, not a number"
    raise AssertionError("all are numbers")


def _side(path: str | os.PathLike[str], size: Element | None, key: str) -> int:
    text = "" if size is None else (size.findtext(key) or "").strip()
    if not text:
        return 0
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{shown(path)}: size: {key} is {brief_value(text)}, not a number") from None
    if value > MAX_SIDE:
        raise UserError(f"{shown(path)}: size: {key} is {brief_value(text)}, more than an image can have")
    return int(value) if value > 0 else 0
