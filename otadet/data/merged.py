"""Annotations of several sources as one, classes matched by name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from otadet.data.annotations import Annotations
from otadet.data.class_list import SourceClasses
from otadet.data.image_names import ImageNames
from otadet.errors import UserError


def merged(parts: Sequence[Annotations], renamed: Mapping[str, str]) -> Annotations:
    """All images of the parts, one part after the other, numbered from 1.

    Classes are the same where their names are, and come in the order in which they are met; headings are left out. The
    folder of the images is the one that has all of theirs in it.

    renamed: name in a part -> name of the class here. Raises `UserError` for parts that are evaluated differently, or
    that lie on different drives.
    """
    if len({part.protocol for part in parts}) > 1:
        which = ", ".join(f"{part.source} ({part.protocol})" for part in parts)
        raise UserError(f"data with different evaluations cannot be one data set: {which}")
    root = _common_folder(parts)
    names: dict[str, int] = {}
    made_up = all(part.classes.made_up for part in parts)
    class_rows = [_class_rows(part, renamed, names, made_up)[part.class_rows] for part in parts]
    rows = np.concatenate(class_rows)
    first = np.cumsum([0, *(len(part.image_ids) for part in parts)])
    dropped: Counter[str] = Counter()
    for part in parts:
        dropped.update(dict(part.dropped))
    reasons = [part.why_no_boxes for part in parts]
    boxes, classes = np.bincount(rows, minlength=len(names)), len(names)
    return Annotations(
        source=root,
        image_dir=root,
        classes=SourceClasses(
            tuple(range(1, classes + 1)), tuple(names), boxes, np.zeros(classes, dtype=bool), made_up
        ),
        image_ids=np.arange(1, first[-1] + 1),
        file_names=ImageNames.of([name for part in parts for name in _names_from(root, part)]),
        image_sizes=np.concatenate([part.image_sizes for part in parts]),
        image_rows=np.concatenate([part.image_rows + start for part, start in zip(parts, first, strict=False)]),
        class_rows=rows,
        boxes=np.concatenate([part.boxes for part in parts]),
        areas=np.concatenate([part.areas for part in parts]),
        ignored=np.concatenate([part.ignored for part in parts]),
        why_no_boxes="; ".join(dict.fromkeys(reasons)) if all(reasons) else "",
        ignored_hint="; ".join(dict.fromkeys(part.ignored_hint for part in parts if part.ignored_hint)),
        dropped=tuple(dropped.items()),
        protocol=parts[0].protocol,
    )


def _class_rows(part: Annotations, renamed: Mapping[str, str], names: dict[str, int], made_up: bool) -> np.ndarray:
    """(F,) row in `names` of each class of the part, which is put there if it is new; -1 for a heading.

    made_up: whether to take a class that is made up, too.
    """
    rows = np.full(len(part.classes.names), -1)
    if part.classes.made_up and not made_up:
        return rows
    for row in np.flatnonzero(~part.classes.is_heading).tolist():
        name = part.classes.names[row]
        rows[row] = names.setdefault(renamed.get(name, name), len(names))
    return rows


def _common_folder(parts: Sequence[Annotations]) -> Path:
    folders = [os.path.abspath(part.image_dir) for part in parts]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError as error:
        raise UserError(f"{', '.join(folders)}: are on different drives; bring them to one") from error


def _names_from(root: Path, part: Annotations) -> list[str]:
    inner = os.path.relpath(os.path.abspath(part.image_dir), root)
    return list(part.file_names) if inner == os.curdir else [os.path.join(inner, name) for name in part.file_names]
