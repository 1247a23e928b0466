"""The label files of YOLO, read in bulk. Shape letters: `M` boxes, `F` classes.

A line is `class cx cy w h` or, as an outline, `class x1 y1 x2 y2 x3 y3 ...`, all as shares of the image's width and
height. Thousands of files are parsed as one array; only where something in them is unusual are their lines looked at
one by one, which is slow, and says file and line of what is wrong.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from otadet.data.annotations import BrokenEntry, note_wrong
from otadet.data.formats.json_file import brief_value
from otadet.data.formats.text_file import read_many, unmarked
from otadet.errors import UserError

_FILES_AT_ONCE = 2000
_BYTES_AT_ONCE = 2**23
CLASSES_AT_MOST = 10_000
"""Of a data set that does not name its classes."""
LARGEST_SHARE = 2
"""A coordinate beyond it is no share of an image, but a number of pixels."""
_LARGEST_IN_OUTLINE = 1.5
"""Nobody draws so far out of an image; but 2 says that a key point is seen."""
_PLAIN, _SPACE = np.zeros(256, dtype=bool), np.zeros(256, dtype=bool)
_SPACE[list(b"\n\t ")] = True
_PLAIN[list(b"0123456789.+-eE\n\t ")] = True
_SIGN, _EXPONENT = (np.isin(np.arange(256), list(signs)) for signs in (b"+-", b"eE"))
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class YoloLabels:
    """The boxes of many label files, in their order."""

    file_rows: np.ndarray
    """(M,) int64 place of the box's file among those read."""
    class_indices: np.ndarray
    """(M,) int64 as in the files."""
    boxes: np.ndarray
    """(M, 4) float64 xyxy as shares of the image's width and height: perhaps degenerate, outside or not finite."""
    polygons: int
    """How many of them were outlines, and became their box."""


def read_labels(
    paths: Sequence[str], classes: int | None, classes_from: str | None, broken: list[BrokenEntry] | None = None
) -> YoloLabels:
    """The boxes of label files.

    Args:
        paths: the files.
        classes: how many there are; an index of F or more is an error. None: their names are not known.
        classes_from: what names the classes, for that error; None: nothing does.
        broken: where a line that is wrong, or a file that cannot be read, is left out, and said here.

    Raises `UserError` naming the file, the line and what is wrong with it, without `broken`.
    """
    limit = CLASSES_AT_MOST if classes is None else classes
    parts = []
    for first, batch in _batches(paths, broken):
        files = [_plain_lines(data) for data in batch]
        part = _parsed(files, limit)
        if part is None:
            part = _line_by_line(paths[first : first + len(files)], files, limit, classes_from, broken)
        parts.append(YoloLabels(part.file_rows + first, part.class_indices, part.boxes, part.polygons))
    if not parts:
        return YoloLabels(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), 0)
    return YoloLabels(
        np.concatenate([part.file_rows for part in parts]),
        np.concatenate([part.class_indices for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        sum(part.polygons for part in parts),
    )


def is_label_line(line: bytes) -> bool:
    """Whether a line looks like one of a label file: to tell these from other texts."""
    words = line.split()
    return len(words) >= 5 and words[0].isdigit() and all(_NUMBER.fullmatch(word) for word in words)


def _batches(paths: Sequence[str], broken: list[BrokenEntry] | None) -> Iterator[tuple[int, list[bytes]]]:
    """(place of the first file, contents of this and the following ones)."""
    first, batch, size = 0, [], 0
    for place, data in enumerate(read_many(paths, "label file")):
        if isinstance(data, UserError):
            if broken is None:
                raise data
            broken.append(BrokenEntry.of(paths[place], data))
            data = b""
        batch.append(data)
        size += len(data)
        if len(batch) == _FILES_AT_ONCE or size >= _BYTES_AT_ONCE:
            yield first, batch
            first, batch, size = place + 1, [], 0
    if batch:
        yield first, batch


def _plain_lines(data: bytes) -> bytes:
    """The text without byte order mark, in UTF-8, its lines ended by newlines."""
    data, encoding = unmarked(data)
    if encoding not in (None, "utf-8"):
        data = data.decode(encoding, "replace").encode("utf-8", "replace")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data + b"\n"


def _parsed(files: list[bytes], limit: int) -> YoloLabels | None:
    """What the files hold, or None where a line of them is unusual, perhaps wrong."""
    text = b"".join(files)
    characters = np.frombuffer(text, dtype=np.uint8)
    is_space = _SPACE[characters]
    before = np.concatenate(([ord("\n")], characters[:-1]))
    # "1-2" would be read as two numbers.
    signs_inside = _SIGN[characters] & ~_SPACE[before] & ~_EXPONENT[before]
    if not _PLAIN[characters].all() or signs_inside.any():
        return None
    word_starts = np.flatnonzero(~is_space & _SPACE[before])
    values = _numbers(text)
    if values is None or len(values) != len(word_starts):
        return None
    line_ends = np.flatnonzero(characters == ord("\n"))
    words_before = np.concatenate(([0], np.searchsorted(word_starts, line_ends)))
    lengths = np.diff(words_before)
    lines = np.flatnonzero(lengths)
    lengths, firsts = lengths[lines], words_before[lines]
    outline = lengths >= 7
    if not ((lengths == 5) | (outline & (lengths % 2 == 1))).all():
        return None
    classes = values[firsts]
    is_coordinate = np.ones(len(values), dtype=bool)
    is_coordinate[firsts] = False
    if (classes != np.floor(classes)).any() or ((classes < 0) | (classes >= limit)).any():
        return None
    if (abs(values[is_coordinate]) > LARGEST_SHARE).any():
        return None
    if (abs(values[np.repeat(outline, lengths) & is_coordinate]) > _LARGEST_IN_OUTLINE).any():
        return None
    boxes = np.empty((len(lines), 4))
    boxes[~outline] = _corners(values[firsts[~outline, None] + np.arange(1, 5)])
    if outline.any():
        boxes[outline] = _outline_boxes(values, firsts[outline], lengths[outline])
    file_ends = np.cumsum([len(file) for file in files])
    file_rows = np.searchsorted(file_ends, line_ends[lines], side="right")
    return YoloLabels(file_rows.astype(np.int64), classes.astype(np.int64), boxes, int(outline.sum()))


def _numbers(text: bytes) -> np.ndarray | None:
    with warnings.catch_warnings():
        # NumPy warns, and returns what it has, where it meets what is no number.
        warnings.simplefilter("error")
        try:
            return np.fromstring(text.decode("ascii"), dtype=np.float64, sep=" ") if text.strip() else np.zeros(0)
        except (DeprecationWarning, ValueError):
            return None


def _corners(boxes: np.ndarray) -> np.ndarray:
    """(M, 4) centre and size -> xyxy."""
    with np.errstate(invalid="ignore"):
        half = boxes[:, 2:] / 2
        return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def _outline_boxes(values: np.ndarray, firsts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(M, 4) xyxy around each outline: `lengths - 1` numbers x, y, ... behind its place in `firsts`."""
    begins = np.concatenate(([0], np.cumsum(lengths - 1)[:-1]))
    taken = np.arange(int((lengths - 1).sum())) + np.repeat(firsts + 1 - begins, lengths - 1)
    points = values[taken].reshape(-1, 2)
    low, high = (pick.reduceat(points, begins // 2, axis=0) for pick in (np.minimum, np.maximum))
    return np.concatenate((low, high), axis=1)


def _line_by_line(
    paths: Sequence[str], files: list[bytes], limit: int, classes_from: str | None, broken: list[BrokenEntry] | None
) -> YoloLabels:
    file_rows, class_indices, boxes, polygons = [], [], [], 0
    for row, (path, text) in enumerate(zip(paths, files, strict=True)):
        for number, line in enumerate(text.split(b"\n"), start=1):
            words = line.split()
            if not words:
                continue
            try:
                index, values = _line(words, limit, classes_from)
            except ValueError as error:
                note_wrong(path, f"line {number}: {error}", broken)
                continue
            polygon = len(values) > 4
            points = np.array(values).reshape(-1, 2)
            box = np.concatenate((points.min(0), points.max(0))) if polygon else _corners(np.array([values]))[0]
            file_rows.append(row)
            class_indices.append(index)
            boxes.append(box)
            polygons += polygon
    array = np.array(boxes).reshape(-1, 4)
    return YoloLabels(np.array(file_rows, np.int64), np.array(class_indices, np.int64), array, polygons)


def _known_classes(limit: int, classes_from: str | None) -> str:
    if classes_from is None:
        return f"nothing names the classes, and then the last is {limit - 1}; list their names in a data.yaml"
    known = f"{limit} classes, 0 to {limit - 1}" if limit > 1 else "one class, 0"
    return f"{classes_from} has {known}; add its name there, or correct the line"


def _line(words: list[bytes], limit: int, classes_from: str | None) -> tuple[int, list[float]]:
    """Class and coordinates; a `ValueError` says what is wrong."""
    for word in words:
        if not _NUMBER.fullmatch(word):
            raise ValueError(f"{_said(word)} is not a number; expected is `class cx cy w h`, with spaces between them")
    numbers = [float(word) for word in words]
    if len(words) == 6:
        raise ValueError("has 6 numbers: a sixth, as the confidence of a detection, is none of a label; remove it")
    if len(words) < 5 or len(words) % 2 == 0:
        raise ValueError(
            f"has {len(words)} numbers; expected are 5, `class cx cy w h`, or an outline, `class x1 y1 x2 y2 x3 y3 ...`"
        )
    if not numbers[0].is_integer() or numbers[0] < 0:
        raise ValueError(f"its class is {_said(words[0])}; expected is a whole number from 0")
    if numbers[0] >= limit:
        raise ValueError(f"its class is {_said(words[0])}, but {_known_classes(limit, classes_from)}")
    largest = LARGEST_SHARE if len(words) == 5 else _LARGEST_IN_OUTLINE
    for word, value in zip(words[1:], numbers[1:], strict=True):
        if LARGEST_SHARE >= abs(value) > largest:
            raise ValueError(
                f"{_said(word)} is no share of the image from 0 to 1; if these are key points, keep the first 5 numbers"
            )
        if math.isfinite(value) and abs(value) > largest:
            raise ValueError(
                f"{_said(word)} is no share of the image from 0 to 1; if these are pixels, divide x by the width and y "
                "by the height of the image"
            )
    return int(numbers[0]), numbers[1:]


def _said(word: bytes) -> str:
    return brief_value(word.decode("utf-8", "replace"))
