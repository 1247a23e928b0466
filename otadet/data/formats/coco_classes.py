"""The categories of a COCO file as classes. Shape letter: `F` categories."""

from __future__ import annotations

from collections import Counter

import numpy as np

from otadet.data.annotations import BrokenEntry, note_wrong
from otadet.data.class_list import SourceClasses
from otadet.data.formats.json_file import brief_value
from otadet.data.formats.json_section import Section
from otadet.names import MAX_CLASS_NAME, clean_name


def classes_of(
    section: Section, ids: np.ndarray, by_id: np.ndarray, boxes: np.ndarray, broken: list[BrokenEntry] | None
) -> SourceClasses:
    """The classes, in the order of their ids. One without a box that others name as their supercategory is a heading.

    Args:
        section: the categories.
        ids: (F,) as in the file.
        by_id: (F,) their order.
        boxes: (F,) annotations of each category, in that order.
        broken: where it is noted that two have the same name; None: that is an error.

    Raises `UserError`, also as `class_names` does.
    """
    names = class_names(section)
    parents = [row.get("supercategory") for row in section.rows]
    parents = [clean_name(parent) if isinstance(parent, str) else None for parent in parents]
    children = Counter(parents)
    is_heading = np.zeros(len(by_id), dtype=bool)
    first: dict[str, int] = {}
    for place, row in enumerate(by_id.tolist()):
        name = names[row]
        is_heading[place] = not boxes[place] and children[name] > (parents[row] == name)
        if is_heading[place]:
            continue
        other = first.setdefault(name, place)
        if other != place:
            note_wrong(section.path, _same_name(name, ids[by_id], boxes, other, place), broken)
            names[row] = f"{name} (id {ids[row]})"
    return SourceClasses(tuple(ids[by_id].tolist()), tuple(names[row] for row in by_id), boxes, is_heading)


def class_names(section: Section) -> list[str]:
    """(F,) the names, cleaned. Raises `UserError` naming the entry of one that is empty or too long."""
    names = section.strings("name")
    for position, name in enumerate(names):
        if len(name) > MAX_CLASS_NAME:
            problem = f"has {len(name)} characters, and at most {MAX_CLASS_NAME} are allowed"
            raise section.error(position, f"name {brief_value(name)} {problem}")
        if not clean_name(name):
            raise section.error(position, f"name {brief_value(name)} is empty")
    return [clean_name(name) for name in names]


def _same_name(name: str, ids: np.ndarray, boxes: np.ndarray, first: int, second: int) -> str:
    unused = [place for place in (first, second) if not boxes[place]]
    advice = f"no box has the id {ids[unused[0]]}: remove that entry" if unused else "merge them, or rename one"
    return f"two categories are named {name!r}, with the ids {ids[first]} and {ids[second]}; {advice}"
