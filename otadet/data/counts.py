"""What a data set holds, and what was done to it, as one line of a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from otadet.names import one_agrees

_NAMED_AT_MOST = 5


@dataclass(frozen=True)
class Counts:
    """Numbers of images and boxes."""

    images: int
    images_without_boxes: int
    """Kept: they have no box to train on."""
    boxes: int
    """To train on: neither ignored nor degenerate."""
    ignored: int
    """Regions whose objects are not told apart, such as crowds: neither right nor wrong in training and evaluation."""
    clipped: int
    """Boxes that reached more than a pixel past their image."""
    degenerate: int
    """Boxes of no size, or outside their image: dropped from training and evaluation."""
    unreadable: int
    """Images that were skipped, because the file is missing or damaged."""

    def summary(
        self,
        boxes_per_class: np.ndarray,
        class_names: Sequence[str],
        left_out: Sequence[str],
        dropped: Sequence[tuple[str, int]] = (),
    ) -> str:
        """One line.

        Args:
            boxes_per_class: (C,).
            class_names: (C,).
            left_out: classes that only the file has.
            dropped: what the reader left out or repaired, and how often.
        """
        unused = [name for name, number in zip(class_names, boxes_per_class, strict=True) if not number]
        remarks = {
            "images without boxes": self.images_without_boxes,
            "regions ignored, such as crowds": self.ignored,
            "boxes clipped to their image": self.clipped,
            "degenerate boxes dropped": self.degenerate,
            "unreadable images skipped": self.unreadable,
            f"classes without boxes ({_some(unused)})": len(unused),
            f"categories left out as headings or no classes ({_some(left_out)})": len(left_out),
            **dict(dropped),
        }
        main = f"{self.images} images, {self.boxes} boxes, {len(class_names)} classes"
        return one_agrees("; ".join((main, *(f"{number} {what}" for what, number in remarks.items() if number))))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_AT_MOST]) + (", ..." if len(names) > _NAMED_AT_MOST else "")
