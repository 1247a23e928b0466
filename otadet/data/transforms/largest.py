"""The sizes of the largest images that a transform of the training set makes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from otadet.data.sample import Sample, no_boxes
from otadet.data.transforms.compose import Compose, Until, apply, others_of
from otadet.data.transforms.geometry import ResizeShortestEdge
from otadet.data.transforms.mosaic import Mosaic
from otadet.data.transforms.multi_scale import MultiScale

Size = tuple[int, int]
"""(height, width) in pixels."""
_CALLS = 16
"""Of a transform that does not say how large its result is."""


def largest_sizes(transform: Any, sizes: Iterable[Size]) -> set[Size]:
    """Sizes of what `transform` makes of images of `sizes`: each the largest that one of them can become.

    What a transform of yours does not say by `output_size` is found out by calling it with a few black images.
    """
    if isinstance(transform, Compose):
        found = set(sizes)
        for one in transform.transforms:
            found = largest_sizes(one, found)
        return found
    if isinstance(transform, Until):
        kept = set(sizes)
        return kept | largest_sizes(transform.transform, kept)
    if isinstance(transform, MultiScale):
        kept = set(sizes)
        return {size for resize in transform.resizes for size in largest_sizes(resize, kept)}
    if isinstance(transform, ResizeShortestEdge):
        return {transform.needed_size(*size) for size in sizes}
    if isinstance(transform, Mosaic):
        return {result for size in sizes for result in (size, transform.size or size)}
    return _told(transform, set(sizes))


def _told(transform: Any, sizes: set[Size]) -> set[Size]:
    known = getattr(transform, "output_size", None)
    if known is None:
        return _seen(transform, sizes)
    told = {size: known(*size) for size in sizes}
    unsaid = {size for size, result in told.items() if result is None}
    return {result for result in told.values() if result is not None} | (_seen(transform, unsaid) if unsaid else set())


def _seen(transform: Any, sizes: set[Size]) -> set[Size]:
    """What it makes of the highest, of the widest and of the largest; all `sizes` where it leaves these as they are."""
    extreme = {max(sizes), max(sizes, key=lambda size: size[1]), max(sizes, key=lambda size: size[0] * size[1])}
    rng = np.random.default_rng(0)
    results: set[Size] = set()
    for size in extreme:
        black = Sample(np.zeros((*size, 3), np.uint8), no_boxes(), np.zeros(0, np.int64), 0, "black", size)
        for _ in range(_CALLS):
            height, width = apply(transform, black, rng, [black] * others_of(transform)).image.shape[:2]
            results.add((height, width))
    return sizes if results <= extreme else results
