"""Names of files that belong together, such as the frames of a clip, and the splits that they are in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from otadet.data.check.finding import Finding, of_all, some
from otadet.data.check.kinds import SPLIT_GROUPS, SPLIT_NO_BOXES, SPLIT_SMALL
from otadet.data.check.split import Split

FEW = {"train": 100, "val": 50, "test": 50}
"""Images of a split, below which results vary by chance."""
_MANY_GROUPS = 10
"""Fewer may be anything: years, cameras, batches of a download."""
_EXPORT = re.compile(r"\.rf\.[0-9a-zA-Z]{16,}$")
"""What Roboflow adds to the name of a picture, another one for each augmented copy."""
_OLD_SUFFIX = re.compile(r"(_(jpe?g|png))+$", re.IGNORECASE)
"""And what it makes of the suffix that the picture had."""


def group_of(name: str) -> str:
    """What the files of a group have in common in their names; all of the name where it does not say.

    Copies of one export are a group, and so are files whose names differ in their last number alone. Folders do not
    count, as they are mostly named by split.
    """
    stem = _stem(name)
    if (original := _EXPORT.sub("", stem)) != stem:
        return original
    prefix = re.sub(r"\d+$", "", _OLD_SUFFIX.sub("", stem))
    # "clip3_0012" is of "clip3_"; of "IMG_0012" and "000012" the rest tells cameras apart at best.
    return prefix if re.search(r"\d", prefix) else stem


def group_findings(splits: Sequence[Split]) -> list[Finding]:
    """About groups of files that are in several splits."""
    groups: dict[str, Counter[str]] = {}
    copies = set()
    for split in splits:
        for name in split.annotations.file_names:
            group = group_of(name)
            groups.setdefault(group, Counter())[split.name] += 1
            if _EXPORT.search(_stem(name)):
                copies.add(group)
    several = [group for group, counts in groups.items() if counts.total() > 1]
    torn = [group for group in several if len(groups[group]) > 1]
    if len(several) < _MANY_GROUPS:
        torn = [group for group in torn if group in copies]
    if not torn:
        return []
    names = {name: None for group in torn for name in groups[group]}
    message = f"{of_all(len(torn), len(several), 'groups')} of files by their names: in several splits: {some(torn)}"
    wanted = set(torn)
    places = [
        split.place(row)
        for split in splits
        for row, name in enumerate(split.annotations.file_names)
        if group_of(name) in wanted
    ]
    return [SPLIT_GROUPS.found("+".join(names), message, len(torn), places)]


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


def amount_findings(split: Split) -> list[Finding]:
    """About splits with too little in them."""
    found = []
    if not split.statistics.boxes:
        why = split.annotations.why_no_boxes or f"none of its {len(split.annotations.boxes)} annotations can be used"
        found.append(SPLIT_NO_BOXES.found(split.name, f"no box: {why}", 1))
    elif split.images < FEW.get(split.name, FEW["train"]):
        found.append(SPLIT_SMALL.found(split.name, f"few images: {split.images:,}", split.images))
    return found
