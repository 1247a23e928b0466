"""What the boxes of a data set are like: the numbers that an experiment is chosen by.

Shape letters: `S` images, `M` boxes, `C` classes, `L` pyramid levels. The size of a box is the square root of its area,
in pixels; boxes are those that are trained on, clipped to their image: neither ignored nor degenerate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from otadet.data.annotations import Annotations
from otadet.data.check.crowding import Crowding, crowding
from otadet.data.transforms.geometry import Letterbox, ResizeShortestEdge
from otadet.data.transforms.multi_scale import MultiScale
from otadet.data.transforms.objects import is_degenerate, sides

STRIDES = (8, 16, 32, 64, 128)
"""Of the levels P3 to P7."""
ANCHOR_STRIDES = 4
"""A level is made for boxes of that many strides: the side of RetinaNet's anchors."""

MAX_SIDE = 2.0**31
"""Pixels that no image is larger than."""

Resize = ResizeShortestEdge | Letterbox | MultiScale


@dataclass(frozen=True, eq=False)
class Objects:
    """The `M` boxes of `Annotations` that are trained on."""

    rows: np.ndarray
    """(M,) int64 of the annotations."""
    boxes: np.ndarray
    """(M, 4) float64 xyxy in pixels, clipped."""
    image_rows: np.ndarray
    """(M,) int64."""
    class_rows: np.ndarray
    """(M,) int64."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of one split."""

    images: int
    """S."""
    images_without_boxes: int
    """That have no box that counts, whatever regions they have."""
    ignored: int
    """Regions that are not objects, such as crowds."""
    class_names: tuple[str, ...]
    """(C,) in the order of the file, without the headings among them."""
    boxes_per_class: np.ndarray
    """(C,) int64."""
    images_per_class: np.ndarray
    """(C,) int64 images with at least one box of the class."""
    image_sizes: np.ndarray
    """(S, 2) int64 height, width in pixels; 0 where nobody says."""
    image_rows: np.ndarray
    """(M,) int64 the image of each box."""
    box_sides: np.ndarray
    """(M, 2) float64 width, height in pixels of the image."""
    boxes_per_image: np.ndarray
    """(S,) int64."""
    crowding: Crowding
    """How much the boxes of an image overlap."""

    @property
    def boxes(self) -> int:
        """M."""
        return len(self.box_sides)

    @property
    def box_sizes(self) -> np.ndarray:
        """(M,) float64 square root of the area, in pixels of the image."""
        return np.sqrt(self.box_sides.prod(axis=1))

    @property
    def aspect_ratios(self) -> np.ndarray:
        """(M,) float64 width over height."""
        return self.box_sides[:, 0] / self.box_sides[:, 1]

    def box_sizes_at(self, resize: Resize) -> np.ndarray:
        """(M,) float64 as `box_sizes`, in pixels of what the network sees; NaN where the image's size is unknown.

        Where one of several sizes is drawn in training, the median counts.
        """
        return self.box_sizes * resize_factors(self.image_sizes, resize)[self.image_rows]


def statistics(annotations: Annotations, image_sizes: np.ndarray | None = None) -> Statistics:
    """The numbers of a split. Takes seconds for a million boxes, and opens no image.

    image_sizes: (S, 2) height, width in pixels of the files, where they are known better than by the annotations.
    """
    sizes = annotations.image_sizes if image_sizes is None else image_sizes
    found = objects(annotations, sizes)
    listed = np.flatnonzero(~annotations.classes.is_heading)
    classes, images = len(annotations.classes.names), len(annotations.image_ids)
    pairs = np.unique(found.image_rows * classes + found.class_rows)
    per_image = np.bincount(found.image_rows, minlength=images)
    return Statistics(
        images=images,
        images_without_boxes=int((per_image == 0).sum()),
        ignored=int(annotations.ignored.sum()),
        class_names=tuple(annotations.classes.names[row] for row in listed),
        boxes_per_class=np.bincount(found.class_rows, minlength=classes)[listed],
        images_per_class=np.bincount(pairs % classes, minlength=classes)[listed],
        image_sizes=sizes,
        image_rows=found.image_rows,
        box_sides=sides(found.boxes),
        boxes_per_image=per_image,
        crowding=crowding(found.boxes, found.image_rows, found.class_rows, images),
    )


def objects(annotations: Annotations, image_sizes: np.ndarray) -> Objects:
    """The boxes that are trained on.

    image_sizes: (S, 2) height, width; where they are 0 boxes are clipped to `MAX_SIDE`.
    """
    boxes, image_rows = annotations.boxes, annotations.image_rows
    height, width = np.where(image_sizes > 0, image_sizes, MAX_SIDE)[image_rows].T
    clipped = boxes.clip(0, np.stack((width, height, width, height), axis=1))
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(sides(boxes)).all(axis=1)
        rows = np.flatnonzero(finite & ~annotations.ignored & ~is_degenerate(clipped))
    return Objects(rows, clipped[rows], image_rows[rows], annotations.class_rows[rows])


def resize_factors(image_sizes: np.ndarray, resize: Resize) -> np.ndarray:
    """(S, 2) height, width -> (S,) by how much `resize` enlarges each image; NaN for a size that is unknown.

    Where one of several sizes is drawn, the median counts.
    """
    if isinstance(resize, MultiScale):
        return np.median([resize_factors(image_sizes, one) for one in resize.resizes], axis=0)
    height, width = np.where(image_sizes > 0, image_sizes, np.nan).T
    if isinstance(resize, Letterbox):
        return np.minimum(resize.size[0] / height, resize.size[1] / width)
    shortest = float(np.median(resize.sizes))
    return np.minimum(shortest / np.minimum(height, width), resize.max_size / np.maximum(height, width))


def share_below(sizes: np.ndarray, pixels: float) -> float:
    """0-1: boxes smaller than that, of those whose size is known; 0 where there are none."""
    known = sizes[~np.isnan(sizes)]
    return float((known < pixels).mean()) if len(known) else 0.0


def level_shares(sizes: np.ndarray, strides: Sequence[int] = STRIDES) -> np.ndarray:
    """(M,) sizes in pixels of the network's input -> (L,) in 0-1: boxes of each pyramid level, by their size.

    A box belongs to the level whose anchor, of `ANCHOR_STRIDES` strides, is the nearest to it in the logarithm.
    """
    borders = ANCHOR_STRIDES * np.sqrt(np.array(strides[:-1], dtype=float) * np.array(strides[1:]))
    known = sizes[~np.isnan(sizes)]
    counts = np.bincount(np.searchsorted(borders, known, side="right"), minlength=len(strides))
    return counts / max(len(known), 1)


def shortest_edge_for(found: Statistics, pixels: float = 8.0, share: float = 0.05) -> float:
    """The shortest edge of the images, in pixels, at which no more than `share` (0-1) of the boxes are below `pixels`.

    As `ResizeShortestEdge` without a limit on the longer side. 0 where there are no boxes of images of known size.
    """
    shortest = np.where(found.image_sizes > 0, found.image_sizes, np.nan).min(axis=1)[found.image_rows]
    relative = np.sort(found.box_sizes / shortest)
    relative = relative[~np.isnan(relative)]
    if not len(relative):
        return 0.0
    return pixels / float(relative[min(int(share * len(relative)), len(relative) - 1)])
