"""What may be wrong with the boxes of a split. Shape letters: `M` boxes, `P` pairs."""

from __future__ import annotations

import numpy as np

from otadet.data.check.crowding import overlapping
from otadet.data.check.finding import Finding, Kind, of_all, percent
from otadet.data.check.kinds import (
    BOX_DEGENERATE,
    BOX_HUGE,
    BOX_OF_TWO_CLASSES,
    BOX_OUTSIDE,
    BOX_OVER_EDGE,
    BOX_REPEATED,
    BOX_SMALL,
    BOX_THIN,
    BOX_TINY,
    BOX_TWICE,
)
from otadet.data.check.split import Split
from otadet.data.check.statistics import Resize, share_below
from otadet.data.transforms.objects import is_degenerate, sides

SAME_IOU = 0.95
"""Of two boxes that are nearly the same."""
SMALL, SMALL_SHARE = 8.0, 0.1
"""Pixels of the network's input, and the share of the boxes (0-1) below them that is too many."""
_OVER_EDGE = 1.0
_TINY = 2.0
_HUGE = 0.95
_THIN = 10.0
_REPEATED_IMAGES, _REPEATED_SHARE = 5, 0.02
"""Images that have the same box, and their share of all (0-1), from which on it is suspicious."""


def box_findings(split: Split, resize: Resize) -> list[Finding]:
    """All about boxes. resize: to the size that is trained at."""
    found = [*_shapes(split), *_pairs(split), *_repeated(split), *_small(split, resize)]
    return [finding for finding in found if finding.count]


def _shapes(split: Split) -> list[Finding]:
    """About each box for itself. Ignored regions may be of any shape, but not nowhere."""
    annotations, boxes = split.annotations, split.annotations.boxes
    known = split.of_known_size
    height, width = np.where(split.sizes > 0, split.sizes, np.inf)[annotations.image_rows].T
    clipped = boxes.clip(0, np.stack((width, height, width, height), axis=1))
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(sides(boxes)).all(axis=1)
        degenerate = ~finite | is_degenerate(boxes)
        outside = ~degenerate & is_degenerate(clipped)
        usable = ~degenerate & ~outside & known
        # CrowdHuman has the whole of a person, also of one that the edge cuts.
        over_edge = usable & (abs(boxes - clipped) > _OVER_EDGE).any(axis=1) & (annotations.protocol != "crowdhuman")
        object_sides = sides(clipped)
        usable &= ~annotations.ignored
        tiny = usable & (object_sides.min(axis=1) < _TINY)
        huge = usable & (object_sides.prod(axis=1) > _HUGE * height * width)
        thin = usable & ~tiny & (object_sides.max(axis=1) > _THIN * object_sides.min(axis=1))
    return [
        _about(split, BOX_DEGENERATE, degenerate & known, "no width or height, or corners that are no numbers"),
        _about(split, BOX_OUTSIDE, outside & known, "wholly outside their image"),
        _about(split, BOX_OVER_EDGE, over_edge, "more than a pixel past the edge of their image"),
        _about(split, BOX_TINY, tiny, f"a side below {_TINY:g} pixels of the picture"),
        _about(split, BOX_HUGE, huge, f"more than {percent(_HUGE)} of their image"),
        _about(split, BOX_THIN, thin, f"more than {_THIN:g} times as long as wide, or as wide as long"),
    ]


def _about(split: Split, kind: Kind, mask: np.ndarray, what: str) -> Finding:
    rows = np.flatnonzero(mask)
    message = f"{of_all(len(rows), len(mask), 'boxes')}: {what}"
    return kind.found(split.name, message, len(rows), split.places_of_boxes(rows))


def _pairs(split: Split) -> list[Finding]:
    found = split.objects
    same, different = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for first, second, _ in overlapping(found.boxes, found.image_rows, SAME_IOU):
        alike = found.class_rows[first] == found.class_rows[second]
        # Both, so that a sheet shows what is twice.
        same += [first[alike], second[alike]]
        different += [first[~alike], second[~alike]]
    twice, of_two = (np.unique(np.concatenate(rows)) for rows in (same, different))
    total = len(found.rows)
    return [
        BOX_TWICE.found(
            split.name,
            f"{of_all(len(twice), total, 'boxes')}: nearly the same as another of their class and image",
            len(twice),
            split.places_of_boxes(found.rows[twice]),
        ),
        BOX_OF_TWO_CLASSES.found(
            split.name,
            f"{of_all(len(of_two), total, 'boxes')}: nearly the same as one of another class in their image",
            len(of_two),
            split.places_of_boxes(found.rows[of_two]),
        ),
    ]


def _repeated(split: Split) -> list[Finding]:
    """Boxes that very many images have, to a hundredth of a pixel. One that fills its image is not among them."""
    found = split.objects
    height, width = split.sizes[found.image_rows].T
    rows = np.flatnonzero(sides(found.boxes).prod(axis=1) <= _HUGE * height * width)
    _, first, which = np.unique(_keys(found.boxes[rows]), return_index=True, return_inverse=True)
    pairs = np.unique(which * split.images + found.image_rows[rows])
    images = np.bincount(pairs // max(split.images, 1), minlength=len(first))
    many = images >= max(_REPEATED_IMAGES, _REPEATED_SHARE * split.images)
    if not many.any():
        return []
    hit = found.rows[rows[many[which]]]
    worst = ", ".join(f"{value:g}" for value in np.round(found.boxes[rows[first[images.argmax()]]], 2))
    message = (
        f"{of_all(len(hit), len(found.rows), 'boxes')}: the very same box in many images; {images.max():,} have the "
        f"one with the corners {worst}"
    )
    return [BOX_REPEATED.found(split.name, message, len(hit), split.places_of_boxes(hit))]


def _keys(boxes: np.ndarray) -> np.ndarray:
    """(M, 4) -> (M,) uint64, equal for boxes that are equal to a hundredth of a pixel, and by chance for no others."""
    factors = np.random.default_rng(0).integers(0, 2**63, 4, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    hundredths = np.round(boxes * 100).clip(-(2.0**62), 2.0**62).astype(np.int64).view(np.uint64)
    return (hundredths * factors).sum(axis=1, dtype=np.uint64)


def _small(split: Split, resize: Resize) -> list[Finding]:
    sizes = split.statistics.box_sizes_at(resize)
    share = share_below(sizes, SMALL)
    if share <= SMALL_SHARE:
        return []
    rows = split.objects.rows[np.flatnonzero(sizes < SMALL)]
    message = f"{percent(share)} of the boxes are below {SMALL:g} px at the size that you train at"
    return [BOX_SMALL.found(split.name, message, len(rows), split.places_of_boxes(rows))]
