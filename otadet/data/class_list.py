"""Which class of an annotation file is which label: matched by name, whatever its id and its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from otadet.errors import UserError, did_you_mean
from otadet.names import clean_class_names, name_list

_LONGEST_LIST = 1500
"""Characters of a list in a message."""


@dataclass(frozen=True)
class SourceClasses:
    """The `F` classes that a file lists, sorted by id."""

    ids: tuple[int, ...]
    names: tuple[str, ...]
    """Clean; two may only be equal if one is a heading."""
    boxes: np.ndarray
    """(F,) int64 number of boxes of each, ignored regions included."""
    is_heading: np.ndarray
    """(F,) bool: it has no box, and is only the name of a group of other classes."""
    made_up: bool = False
    """Whether nothing tells classes, nor is there a box: the one that there is stands for any."""


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set, and where its file has them."""

    names: tuple[str, ...]
    """(C,) by label."""
    source_ids: tuple[int, ...]
    """(C,) the id of each label in the file; of a class that the file lacks one that is free in it."""
    labels: np.ndarray
    """(F,) int64 label of each class of the file, -1 of one that is left out."""
    left_out: tuple[str, ...]
    """Classes of the file that are only a heading, or that are not wanted and have no box."""


def match_classes(path: Path, source: SourceClasses, wanted: Sequence[str] | None) -> ClassList:
    """The classes `wanted`, in that order, found among those of the file; None takes those of the file, by id.

    Wanted are the classes of the training set, of a checkpoint or of the user. A split may lack some of them, and list
    others as long as it has no box of these. Raises `UserError` naming the file where it has boxes of a class that is
    not wanted, or none of the wanted classes.
    """
    names = clean_class_names(list(wanted), "class_names") if wanted is not None else None
    rows = _rows(source, names)
    if names is None:
        names = tuple(rows)
    known, taken = set(names), set(source.ids)
    with_boxes = [name for name, row in rows.items() if name not in known and source.boxes[row]]
    if with_boxes or not (source.made_up or any(name in rows for name in names)):
        raise UserError(_misfit(path, source, names, with_boxes))
    lacking = tuple(name for name in names if name not in rows)
    free = islice((number for number in count(1) if number not in taken), len(lacking))
    ids = {**{name: source.ids[row] for name, row in rows.items()}, **dict(zip(lacking, free, strict=True))}
    labels = np.full(len(source.ids), -1)
    for label, name in enumerate(names):
        if name in rows:
            labels[rows[name]] = label
    left_out = tuple(source.names[row] for row in np.flatnonzero(labels < 0) if not source.made_up)
    return ClassList(names, tuple(ids[name] for name in names), labels, left_out)


def _rows(source: SourceClasses, wanted: tuple[str, ...] | None) -> dict[str, int]:
    """Name -> row of each class that is no heading. A heading is one only where it is asked for by a name of its own,
    as by the checkpoint of a training that took it for a class."""
    rows = {name: row for row, name in enumerate(source.names) if not source.is_heading[row]}
    for row in np.flatnonzero(source.is_heading).tolist():
        if wanted is not None and source.names[row] in wanted:
            rows.setdefault(source.names[row], row)
    return rows


def _misfit(path: Path, source: SourceClasses, names: tuple[str, ...], with_boxes: list[str]) -> str:
    wanted = f"the {len(names)} classes wanted ({name_list(names)})"
    advice = "wanted are those of the training set, of the checkpoint or of class_names"
    if not with_boxes:
        return f"{path}: has none of {wanted}, but {name_list(source.names)}; {advice}"
    hint = did_you_mean(with_boxes[0], names) if len(with_boxes) == 1 else ""
    number = dict(zip(source.names, source.boxes.tolist(), strict=True))
    listed = _as_far_as_fits([f"{name} ({number[name]})" for name in with_boxes])
    return f"{path}: has boxes of {listed}, not among {wanted}{hint}; {advice}"


def _as_far_as_fits(texts: Sequence[str]) -> str:
    """The texts with commas, all of them unless there are hundreds."""
    ends = np.cumsum([len(text) + 2 for text in texts])
    fit = max(1, int(np.searchsorted(ends, _LONGEST_LIST, side="right")))
    return ", ".join(texts[:fit]) + (f" and {len(texts) - fit} more" if len(texts) > fit else "")
