"""What may be wrong with classes: in each split, and from split to split."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np

from otadet.data.check.finding import Finding, of_all, some
from otadet.data.check.kinds import (
    LABEL_ALIKE,
    LABEL_ONLY_ONE,
    LABEL_RARE,
    LABEL_UNKNOWN,
    LABEL_UNMEASURED,
    LABEL_UNTRAINED,
    LABEL_UNUSED,
)
from otadet.data.check.split import Split

RARE = 10
"""Boxes of a class to train on, below which it is rare."""


def label_findings(splits: Sequence[Split]) -> list[Finding]:
    """All about classes. The split "train", or the only one, is trained on, "val" is measured with."""
    boxes = {split.name: _boxes_per_class(split) for split in splits}
    listed = {name: None for counts in boxes.values() for name in counts}
    used = [name for name in listed if any(counts.get(name) for counts in boxes.values())]
    train = boxes.get("train") or (next(iter(boxes.values())) if len(boxes) == 1 else None)
    found = [finding for split in splits for finding in _unlisted(split)]
    sources = list({split.whole.file: split.whole for split in splits}.values())
    if unused := [name for name in listed if name not in used]:
        message = f"{of_all(len(unused), len(listed), 'classes')}: no box in any split: {some(unused)}"
        found.append(LABEL_UNUSED.found("+".join(boxes), message, len(unused), sources))
    if len(used) == 1:
        found.append(LABEL_ONLY_ONE.found("+".join(boxes), f"all boxes are of the class {some(used)}", 1, sources))
    if alike := _alike(list(listed)):
        pairs = "; ".join(" = ".join(map(repr, names)) for names in alike[:5])
        message = f"names that are nearly the same: {pairs}"
        found.append(LABEL_ALIKE.found("+".join(boxes), message, len(alike), sources))
    if train is not None:
        found += _rare(splits, train)
    if "train" in boxes:
        training = next(split for split in splits if split.name == "train")
        for split in splits:
            if split is not training:
                found += _beside_train(split, boxes[split.name], training, boxes["train"])
    return found


def _boxes_per_class(split: Split) -> dict[str, int]:
    """Of the classes that the split lists."""
    numbers, unlisted = split.statistics, split.annotations.unlisted
    counts = dict(zip(numbers.class_names, numbers.boxes_per_class.tolist(), strict=True))
    return {name: count for name, count in counts.items() if name not in unlisted}


def _unlisted(split: Split) -> list[Finding]:
    names = split.annotations.unlisted
    rows = _rows_of(split, names)
    if not len(rows):
        return []
    message = f"{of_all(len(rows), len(split.objects.rows), 'boxes')}: of classes that are not listed: {some(names)}"
    return [LABEL_UNKNOWN.found(split.name, message, len(rows), split.places_of_boxes(rows))]


def _rows_of(split: Split, names: Collection[str]) -> np.ndarray:
    """Rows of the boxes of these classes."""
    wanted = np.array([name in names for name in split.annotations.classes.names], dtype=bool)
    return split.objects.rows[wanted[split.objects.class_rows]]


def _alike(names: Sequence[str]) -> list[list[str]]:
    """Names of which only letters and digits are the same, whatever their case."""
    groups: dict[str, list[str]] = {}
    for name in names:
        # A name of nothing else, such as "+", is compared as it is.
        groups.setdefault(re.sub(r"[\W_]+", "", name).casefold() or name, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _rare(splits: Sequence[Split], train: dict[str, int]) -> list[Finding]:
    rare = {name: count for name, count in train.items() if 0 < count < RARE}
    if not rare:
        return []
    said = some([f"{name} ({count})" for name, count in sorted(rare.items(), key=lambda item: item[1])])
    split = next((split for split in splits if split.name == "train"), splits[0])
    message = f"{of_all(len(rare), len(train), 'classes')}: fewer than {RARE} boxes: {said}"
    return [LABEL_RARE.found(split.name, message, len(rare), split.places_of_boxes(_rows_of(split, rare)))]


def _beside_train(split: Split, own: dict[str, int], training: Split, train: dict[str, int]) -> list[Finding]:
    """own, train: boxes per class of the split, and of the training split. Named are the images that have the class."""
    unknown = [name for name, count in own.items() if count and name not in train]
    untrained = [name for name, count in own.items() if count and train.get(name) == 0]
    unmeasured = [name for name, count in train.items() if count and not own.get(name)]
    found = []
    for kind, names, what in (
        (LABEL_UNKNOWN, unknown, "boxes here, and not listed in train"),
        (LABEL_UNTRAINED, untrained, "boxes here, and none in train"),
        (LABEL_UNMEASURED, unmeasured if split.name == "val" else [], "boxes in train, and none here"),
    ):
        if names:
            having = training if kind is LABEL_UNMEASURED else split
            message = f"{of_all(len(names), len({*train, *own}), 'classes')}: {what}: {some(names)}"
            places = having.places_of_boxes(_rows_of(having, names))
            found.append(kind.found(split.name, message, len(names), places))
    return found
