"""What the check may find, and one thing that it found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from otadet.data.image_file import shown

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""
_NAMED = 5
"""Of many names in a message."""


@dataclass(frozen=True)
class Place:
    """An image where something was found."""

    split: str
    file: str
    """Path of the image file; of a finding about something else its file or folder."""
    image_row: int | None = None
    """Row in the annotations of the split; None where they do not have the image."""
    box_rows: tuple[int, ...] = ()
    """Rows of the boxes that it is about; none where it is about the image as a whole."""
    problem: str = ""
    """What is wrong here, where that is another thing from place to place."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with the data, or that one should know."""

    id: str
    """Never changes: what scripts look for."""
    severity: Severity
    split: str
    """Such as "train"; several are joined by "+"."""
    message: str
    """What was found, and how often."""
    fix: str
    places: tuple[Place, ...] = ()
    """All of them."""
    count: int = 0
    """Of boxes, images, files or classes: what the message is about."""
    paired: bool = False
    """Places come in twos, each two images that are alike."""


@dataclass(frozen=True)
class Kind:
    """What may be found, and what to do about it."""

    id: str
    severity: Severity
    about: str
    """What it means, for the documentation."""
    fix: str

    def found(
        self,
        split: str,
        message: str,
        count: int,
        places: Iterable[Place] = (),
        *,
        paired: bool = False,
        fix: str = "",
    ) -> Finding:
        """A finding of this kind; the arguments are its fields, with a fix of its own where the kind's is not right."""
        return Finding(self.id, self.severity, split, message, fix or self.fix, tuple(places), count, paired)


def of_all(count: int, total: int, what: str) -> str:
    """`"3 of 100 boxes (3 %)"`."""
    return f"{count:,} of {total:,} {what} ({percent(count / max(total, 1))})"


def percent(share: float) -> str:
    """A share in 0-1 for people; what is not 0 is not shown as 0."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or not share else f"{100 * share:.2g} %"


def some(names: Sequence[str]) -> str:
    """Names for a message; of many the first, and how many more."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(shown(name) for name in names[:_NAMED]) + more
