"""All checks of all splits."""

from __future__ import annotations

from collections.abc import Sequence

from otadet.data.check.boxes import box_findings
from otadet.data.check.duplicates import duplicate_findings
from otadet.data.check.finding import SEVERITIES, Finding, Place
from otadet.data.check.groups import amount_findings, group_findings
from otadet.data.check.images import image_findings, unlisted_findings
from otadet.data.check.kinds import ENTRY_BROKEN, KINDS, READER_DROPPED, SPLIT_UNREADABLE
from otadet.data.check.labels import label_findings
from otadet.data.check.split import Split
from otadet.data.check.statistics import Resize
from otadet.data.images import DEFAULT, ReadOptions
from otadet.errors import UserError
from otadet.names import one_agrees


def check_splits(
    splits: Sequence[Split],
    resize: Resize,
    *,
    refused: Sequence[tuple[str, UserError]] = (),
    options: ReadOptions = DEFAULT,
    all_there_are: bool = True,
) -> list[Finding]:
    """All that is found, the worst first.

    Args:
        splits: those that could be read, the training split first.
        resize: to the size that is trained at.
        refused: names of those that could not, and why. What a split may lack because of them is not said.
        options: how image files are read.
        all_there_are: whether no other annotations may have the images beside those of the splits.
    """
    found = [unreadable(name, error) for name, error in refused]
    for split in splits:
        found += broken_entries(split)
        found += [*image_findings(split, options), *box_findings(split, resize), *amount_findings(split)]
        found += dropped_entries(split)
    found += [*duplicate_findings(splits), *group_findings(splits)]
    if not refused:
        found += [*label_findings(splits), *(unlisted_findings(splits) if all_there_are else [])]
    ids = [kind.id for kind in KINDS]
    return sorted(found, key=lambda finding: (SEVERITIES.index(finding.severity), ids.index(finding.id)))


def broken_entries(split: Split) -> list[Finding]:
    """About what the reader left out because it is wrong."""
    broken = split.annotations.broken
    if not broken:
        return []
    files = len({entry.file for entry in broken})
    message = one_agrees(f"{len(broken):,} wrong entries in {files:,} files, and all else is looked at without them")
    places = [Place(split.name, entry.file, problem=entry.problem) for entry in broken]
    return [ENTRY_BROKEN.found(split.name, message, len(broken), places)]


def dropped_entries(split: Split) -> list[Finding]:
    """About what the reader left out, or took otherwise than it is written."""
    annotations, found = split.annotations, []
    for what, number in annotations.dropped:
        files = annotations.dropped_files.get(what, ())
        # Annotations whose image is missing are an error of their own.
        if not files or files != annotations.without_image:
            places = [Place(split.name, file) for file in files] or [split.whole]
            found.append(READER_DROPPED.found(split.name, one_agrees(f"{number:,} {what}"), number, places))
    return found


def unreadable(name: str, error: UserError) -> Finding:
    """About a split whose reader raised."""
    return SPLIT_UNREADABLE.found(name, str(error), 1, [Place(name, str(error).split(": ", 1)[0])])
