"""Names of files that belong together, such as the frames of a clip, and the splits that they are in."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from otadet.data import made_split
from otadet.data.check.finding import Finding, of_all, some
from otadet.data.check.kinds import SPLIT_GROUPS, SPLIT_NO_BOXES, SPLIT_SMALL
from otadet.data.check.split import Split

FEW = {"train": 100, "val": 50, "test": 50}
"""Images of a split, below which results vary by chance."""
_MANY_GROUPS = 10
"""Fewer may be anything: years, cameras, batches of a download."""
_OLD_SUFFIX = re.compile(r"(_(jpe?g|png))+$", re.IGNORECASE)
"""What Roboflow makes of the suffix that a picture had."""


@dataclass(frozen=True)
class Group:
    """What files that belong together have in common in their names."""

    key: str
    certain: bool
    """The name says so, as that of a copy or of a frame; otherwise it is one of many files that are numbered alike."""
    alone: bool = False
    """The name says of no other file that it belongs to it, not of one by the same name in another folder either."""


def group_of(name: str) -> Group:
    """The group of an image, by the name of its file; of itself where that does not say.

    Copies and frames are those that a validation split which is made keeps together; besides, files whose names differ
    in their last number alone. Folders do not count, as they are mostly named by split.
    """
    file = PurePosixPath(name.replace("\\", "/"))
    if (certain := made_split.group_of(file.name)) != file.stem:
        return Group(certain, True)
    prefix = re.sub(r"\d+$", "", _OLD_SUFFIX.sub("", file.stem))
    # "clip3_0012" is of "clip3_"; of "IMG_0012" and "000012" the rest tells cameras apart at best.
    return Group(prefix, False) if re.search(r"\d", prefix) else Group(file.stem, False, alone=True)


def group_findings(splits: Sequence[Split]) -> list[Finding]:
    """About groups of files that are in several splits."""
    named = [[group_of(name) for name in split.annotations.file_names] for split in splits]
    groups: dict[Group, Counter[str]] = {}
    seen: set[str] = set()
    for split, found in zip(splits, named, strict=True):
        for path, group in zip(map(os.path.normpath, split.files.paths), found, strict=True):
            # The very same file in two splits is another finding.
            if not group.alone and path not in seen:
                groups.setdefault(group, Counter())[split.name] += 1
            seen.add(path)
    several = [group for group, counts in groups.items() if counts.total() > 1]
    torn = [group for group in several if len(groups[group]) > 1]
    if len(several) < _MANY_GROUPS:
        torn = [group for group in torn if group.certain]
    if not torn:
        return []
    names = {name: None for group in torn for name in groups[group]}
    said = of_all(len(torn), len(several), "groups")
    message = f"{said} of files by their names: in several splits: {some([group.key for group in torn])}"
    wanted = set(torn)
    places = [
        split.place(row)
        for split, found in zip(splits, named, strict=True)
        for row, group in enumerate(found)
        if group in wanted
    ]
    return [SPLIT_GROUPS.found("+".join(names), message, len(torn), places)]


def amount_findings(split: Split) -> list[Finding]:
    """About splits with too little in them."""
    found = []
    if not split.statistics.boxes:
        why = split.annotations.why_no_boxes or f"none of its {len(split.annotations.boxes)} annotations can be used"
        found.append(SPLIT_NO_BOXES.found(split.name, f"no box: {why}", 1, [split.whole]))
    elif split.images < FEW.get(split.name, FEW["train"]):
        found.append(SPLIT_SMALL.found(split.name, f"few images: {split.images:,}", split.images, [split.whole]))
    return found
