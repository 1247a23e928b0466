"""Pairs of boxes and all the points in a region around them, a chunk of boxes at a time.

A rule that looks at every point in a box has no bound on its pairs but G x A. A chunk holds no more than a given
number of them, so that memory does not grow with the number of boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops.candidates import Candidates
from otadet.assigners.ops.grids import Region, level_of_anchors, levels_of
from otadet.assigners.ops.inputs import on_host
from otadet.assigners.ops.pairs import Pairs
from otadet.assigners.ops.used import number_used_anchors
from otadet.structures import Anchors, Predictions

PAIRS_AT_ONCE = 1 << 16
"""Pairs of a chunk, about 10 MB in float64: as many as stay in a processor's cache."""


@dataclass(frozen=True)
class Chunk:
    """Some boxes of a batch and their pairs, as if the boxes were those of one image with the batch's anchors."""

    box_rows: Tensor
    """(G,) int64 row of the batch's boxes for each box of the chunk, `image * G + gt_index` of the batch."""
    truth: PaddedTruth
    """The boxes, N being 1."""
    pairs: Pairs
    """`pairs.gt_row` counts the boxes of the chunk; `pairs.anchor_row` is a row of the batch's anchors, as always."""
    batch_size: tuple[int, int, int]
    """N, G and A of the batch."""

    def in_batch(self, pairs: Pairs) -> Pairs:
        """Some of the chunk's pairs as pairs of the batch, in no table."""
        num_images, num_boxes, num_anchors = self.batch_size
        gt_row = self.box_rows.index_select(0, pairs.gt_row)
        return replace(pairs, gt_row=gt_row, table_size=(num_images, num_boxes, 0), num_anchors=num_anchors)


def pairs_at_once(predictions: Predictions) -> int:
    """Pairs that a rule looks at in one go, without needing more memory than the logits have, roughly.

    Where an operation costs a launch, whatever its size, more are better.
    """
    if on_host(predictions.logits):
        return PAIRS_AT_ONCE
    return max(PAIRS_AT_ONCE, predictions.logits.numel() // 24)


def chunks(anchors: Anchors, truth: PaddedTruth, region: Region, limit: int) -> Iterator[Chunk]:
    """Each box with the points in its region; the table of a chunk has at most `limit` places, or is that of one box.

    On a CPU the pairs are listed by arithmetic on the grids, and the boxes are sorted by their number of points, so
    that the rows of a chunk are about equally long. On an accelerator each box gets a place for every anchor, as sizes
    must follow from shapes.
    """
    if on_host(truth.boxes):
        yield from _listed(anchors, truth, region, limit)
    else:
        yield from _masked(anchors, truth, region, limit)


def points_in(region: Region, anchors: Anchors, truth: PaddedTruth, limit: int) -> Tensor:
    """(N, A) bool: whether an anchor's point lies in the region of some box of its image. limit: as of `chunks`."""
    num_images = len(truth.valid)
    found = torch.zeros(num_images, len(anchors.points), dtype=torch.uint8, device=truth.valid.device)
    for chunk in chunks(anchors, truth, region, limit):
        pairs = chunk.pairs
        found.view(-1).scatter_reduce_(0, pairs.anchor_row, pairs.valid.to(found.dtype), "amax")
    return found.view(torch.bool)


def shared_chunks(pairs: Pairs, truth: PaddedTruth, limit: int) -> Iterator[tuple[Chunk, Tensor]]:
    """Every box with every anchor that is in a pair of its image, and (P,) bool: which were pairs before."""
    used = number_used_anchors(pairs)
    num_images, per_image, _ = pairs.table_size
    anchor_row = used.anchor_rows(pairs).view(num_images, -1)
    place = pairs.gt_row * used.count + used.index.remainder(used.count)
    table = torch.zeros(num_images * per_image * used.count, dtype=torch.uint8, device=anchor_row.device)
    table.scatter_reduce_(0, place, pairs.valid.to(table.dtype), "amax")
    # (N * G, U) and (N, U); the bytes are 0 or 1, so that they can be read as bool.
    was_pair = table.view(torch.bool).view(num_images * per_image, -1)
    is_used = table.view(num_images, per_image, -1).amax(1) > 0
    for chunk in _crossed(anchor_row, is_used, truth, num_images * pairs.num_anchors, limit):
        yield chunk, was_pair[chunk.box_rows].flatten()[chunk.pairs.table_index]


def chunks_of_anchors(wanted: Tensor, at_most: int, truth: PaddedTruth, limit: int) -> Iterator[Chunk]:
    """Every box with every `wanted` (N, A) anchor of its image, of which there are `at_most` per image."""
    anchor_row, valid = rows_of(wanted, at_most)
    yield from _crossed(anchor_row, valid, truth, wanted.numel(), limit)


def rows_of(wanted: Tensor, at_most: int) -> tuple[Tensor, Tensor]:
    """(N, U) int64 rows of the batch's `wanted` (N, A) anchors, `at_most` per image, and which are no padding."""
    num_images, num_anchors = wanted.shape
    if on_host(wanted):
        image, anchor_index = wanted.nonzero().unbind(1)
        counts = torch.bincount(image, minlength=num_images)
        place = torch.arange(len(image)) - (counts.cumsum(0) - counts)[image]
        valid = torch.arange(int(counts.max())) < counts[:, None]
        anchor_row = torch.zeros_like(valid, dtype=torch.int64)
        anchor_row[image, place] = image * num_anchors + anchor_index
    else:
        # Those that are wanted come first.
        first = wanted.to(torch.float16).topk(min(at_most, num_anchors), sorted=False)
        valid = first.values > 0
        anchor_row = first.indices + torch.arange(num_images, device=wanted.device)[:, None] * num_anchors
    return anchor_row, valid


def _crossed(anchor_row: Tensor, valid: Tensor, truth: PaddedTruth, num_anchors: int, limit: int) -> Iterator[Chunk]:
    """Every box with every anchor of its image: (N, U) rows of the batch's anchors, and which are no padding."""
    per_image = truth.valid.shape[1]
    every_box = torch.arange(truth.valid.numel(), device=anchor_row.device)
    for rows in every_box.split(max(1, limit // max(1, anchor_row.shape[1]))):
        image = rows.div(per_image, rounding_mode="floor")
        is_pair = valid[image] & truth.valid.flatten()[rows, None]
        yield _chunk(truth, rows, Candidates(anchor_row[image][None], is_pair[None]).pairs(num_anchors))


def _chunk(truth: PaddedTruth, rows: Tensor, pairs: Pairs) -> Chunk:
    boxes, labels, valid = truth.boxes.flatten(0, 1)[rows], truth.labels.flatten()[rows], truth.valid.flatten()[rows]
    num_images, num_boxes = truth.valid.shape
    size = num_images, num_boxes, pairs.num_anchors // num_images
    return Chunk(rows, PaddedTruth(boxes[None], labels[None], valid[None]), pairs, size)


@dataclass(frozen=True)
class _Rectangles:
    """The cells of the grids that lie in the boxes' regions: one rectangle for each of G boxes and L levels."""

    columns: Tensor
    """(G, L) int64 cells in a row of the rectangle; 0 for an empty one."""
    rows: Tensor
    """(G, L) int64."""
    corner: Tensor
    """(G, L) int64 row of the batch's anchors at the rectangle's upper left."""
    grid_width: Tensor
    """(L,) int64 anchors from a cell to the one below it."""

    def of(self, boxes: Tensor) -> _Rectangles:
        """Those of some of the boxes."""
        return _Rectangles(self.columns[boxes], self.rows[boxes], self.corner[boxes], self.grid_width)

    def pairs(self, places: int, num_anchors: int) -> Pairs:
        """Each box with all its cells, in a table with `places` per box.

        The anchor in row r and column c of a rectangle is `corner + r * grid_width + c`:

            corner  +1  +2                   the cells of all rectangles are numbered one after the other; with `before`
            +w      .   .    w = grid_width  that of the corner, cell - before = r * columns + c, and so the anchor is
            +2w     .   .    columns = 3     cell + (corner - before) + r * (grid_width - columns).
        """
        num_boxes, num_levels = self.columns.shape
        counts = (self.columns * self.rows).flatten()
        rectangle = torch.repeat_interleave(counts)
        cell = torch.arange(len(rectangle))
        box = torch.repeat_interleave(counts.view(-1, num_levels).sum(1), output_size=len(rectangle))
        before = counts.cumsum(0) - counts
        table_index = cell + (torch.arange(num_boxes) * places - before[::num_levels]).index_select(0, box)
        row = cell - before.index_select(0, rectangle)
        row = row.div_(self.columns.flatten().index_select(0, rectangle), rounding_mode="floor")
        anchor_row = cell + (self.corner.flatten() - before).index_select(0, rectangle)
        anchor_row += row.mul_((self.grid_width - self.columns).flatten().index_select(0, rectangle))
        valid = torch.ones_like(cell, dtype=torch.bool)
        return Pairs(box, anchor_row, valid, table_index, (1, num_boxes, places), num_anchors)


def _listed(anchors: Anchors, truth: PaddedTruth, region: Region, limit: int) -> Iterator[Chunk]:
    levels = levels_of(anchors, truth.boxes.dtype)
    num_images, per_image = truth.valid.shape
    first, last = levels.cells(region)
    columns, rows = ((last - first + 1).clamp(min=0) * truth.valid[..., None, None]).flatten(0, 1).unbind(-1)
    image = torch.arange(num_images).repeat_interleave(per_image)
    # The anchors of a point are neighbours: a grid of points is one of anchors that is so many times as wide.
    width, columns = levels.size[:, 0] * levels.per_location, columns * levels.per_location
    corner = (levels.first + first[..., 1] * width + first[..., 0] * levels.per_location).flatten(0, 1)
    rectangles = _Rectangles(columns, rows, corner + image[:, None] * len(anchors.points), width)
    totals, order = (columns * rows).sum(1).sort(descending=True)
    sizes: list[int] = totals.tolist()
    start = 0
    while start < len(sizes) and sizes[start]:
        stop = start + max(1, limit // sizes[start])
        boxes = order[start:stop]
        pairs = rectangles.of(boxes).pairs(sizes[start], num_images * len(anchors.points))
        yield _chunk(truth, boxes, pairs)
        start = stop


def _masked(anchors: Anchors, truth: PaddedTruth, region: Region, limit: int) -> Iterator[Chunk]:
    device, num_anchors = truth.boxes.device, len(anchors.points)
    num_images, per_image = truth.valid.shape
    point, level = anchors.points.to(truth.boxes.dtype), level_of_anchors(anchors)
    low, high, is_box = region.low.flatten(0, 1), region.high.flatten(0, 1), truth.valid.flatten()
    every_anchor = torch.arange(num_anchors, device=device)
    for rows in torch.arange(num_images * per_image, device=device).split(max(1, limit // num_anchors)):
        valid = ((point > low[rows][:, level]) & (point < high[rows][:, level])).all(-1) & is_box[rows, None]
        anchor_row = rows.div(per_image, rounding_mode="floor")[:, None] * num_anchors + every_anchor
        table_index = torch.arange(valid.numel(), device=device)
        box = table_index.div(num_anchors, rounding_mode="floor")
        size = (1, len(rows), num_anchors)
        yield _chunk(
            truth, rows, Pairs(box, anchor_row.flatten(), valid.flatten(), table_index, size, num_images * num_anchors)
        )
