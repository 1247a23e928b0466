"""Pairs of boxes and all the points in a region around them, a block of boxes at a time.

A rule that looks at every point in a box has no bound on its pairs but G x A. A block holds no more than a given
number of them, so that memory does not grow with the number of boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops.candidates import Candidates
from otadet.assigners.ops.grids import Region, level_of_anchors, levels_of
from otadet.assigners.ops.inputs import can_look
from otadet.assigners.ops.pairs import Pairs, number_columns, pack
from otadet.structures import Anchors, Predictions

PAIRS_AT_ONCE = 1 << 16
"""Pairs of a block, about 10 MB in float64: as many as stay in a processor's cache."""


@dataclass(frozen=True)
class Block:
    """Some boxes of a batch, `B` of them, and their pairs.

    It looks like one image with all the anchors of the batch: `pairs.box` counts the boxes of the block, `pairs.anchor`
    is a row of the batch's anchors as everywhere.
    """

    row: Tensor
    """(B,) int64 row of the batch's boxes, `image * G + g`."""
    truth: PaddedTruth
    """The boxes, as one image."""
    pairs: Pairs


def pairs_at_once(predictions: Predictions) -> int:
    """Pairs that a rule looks at in one go, without needing more memory than the logits have, roughly.

    Where an operation costs a launch, whatever its size, more are better.
    """
    if can_look(predictions.logits):
        return PAIRS_AT_ONCE
    return max(PAIRS_AT_ONCE, predictions.logits.numel() // 24)


def blocks(anchors: Anchors, truth: PaddedTruth, region: Region, limit: int) -> Iterator[Block]:
    """Each box with the points in its region; the table of a block has at most `limit` places, or is that of one box.

    On a CPU the pairs are listed by arithmetic on the grids, and the boxes come by number of points, so that those of a
    block need about as many places. Elsewhere a box has a place for every anchor, as sizes must follow from shapes.
    """
    if can_look(truth.boxes):
        yield from _listed(anchors, truth, region, limit)
    else:
        yield from _masked(anchors, truth, region, limit)


def _block(truth: PaddedTruth, row: Tensor, pairs: Pairs) -> Block:
    part = PaddedTruth(truth.boxes.flatten(0, 1)[row], truth.labels.flatten()[row], truth.present.flatten()[row])
    return Block(row, PaddedTruth(part.boxes[None], part.labels[None], part.present[None]), pairs)


def _listed(anchors: Anchors, truth: PaddedTruth, region: Region, limit: int) -> Iterator[Block]:
    levels = levels_of(anchors, truth.boxes.dtype)
    first, last = levels.cells(region)
    columns, rows = ((last - first + 1).clamp(min=0) * truth.present[..., None, None]).flatten(0, 1).unbind(-1)
    image = torch.arange(len(truth.boxes)).repeat_interleave(truth.boxes.shape[1])
    width = levels.size[:, 0]
    corner = levels.first + first[..., 1] * width + first[..., 0]
    corner = corner.flatten(0, 1) + image[:, None] * len(anchors.points)
    totals, order = (columns * rows).sum(1).sort(descending=True)
    start, totals = 0, totals.tolist()
    while start < len(totals) and totals[start]:
        stop = start + max(1, limit // totals[start])
        row = order[start:stop]
        num_anchors = len(truth.boxes) * len(anchors.points)
        pairs = _list_pairs(columns[row], rows[row], corner[row], width, totals[start], num_anchors)
        yield _block(truth, row, pairs)
        start = stop


def _list_pairs(columns: Tensor, rows: Tensor, corner: Tensor, width: Tensor, places: int, num_anchors: int) -> Pairs:
    """The cells of B x L rectangles of the grids, each given by its size and its first anchor."""
    num_boxes, num_levels = columns.shape
    counts = (columns * rows).flatten()
    rectangle = torch.repeat_interleave(counts)
    cell = torch.arange(len(rectangle))
    box = torch.repeat_interleave(counts.view(-1, num_levels).sum(1), output_size=len(rectangle))
    before = counts.cumsum(0) - counts
    slot = cell + (torch.arange(num_boxes) * places - before[::num_levels]).index_select(0, box)
    row = cell - before.index_select(0, rectangle)
    row = row.div_(columns.flatten().index_select(0, rectangle), rounding_mode="floor")
    # corner + row * width + column, where column = cell - before - row * columns
    anchor = cell + (corner.flatten() - before).index_select(0, rectangle)
    anchor += row.mul_((width - columns).flatten().index_select(0, rectangle))
    real = torch.ones_like(cell, dtype=torch.bool)
    return Pairs(box, anchor, real, slot, (1, num_boxes, places), num_anchors)


def shared_blocks(pairs: Pairs, truth: PaddedTruth, limit: int) -> Iterator[tuple[Block, Tensor]]:
    """Every box with every anchor that is in a pair of its image, and (P,) bool: which were pairs before."""
    columns = number_columns(pairs)
    num_images, per_image, _ = pairs.table_size
    anchor = columns.anchors(pairs).view(num_images, -1)
    place = pairs.box * columns.count + columns.index.remainder(columns.count)
    before = torch.zeros(num_images * per_image * columns.count, dtype=torch.uint8, device=anchor.device)
    before.scatter_reduce_(0, place, pairs.real.to(before.dtype), "amax")
    used = before.view(num_images, per_image, -1).amax(1) > 0
    before = before.view(torch.bool).view(num_images * per_image, -1)
    for row in torch.arange(len(before), device=anchor.device).split(max(1, limit // max(1, columns.count))):
        image = row.div(per_image, rounding_mode="floor")
        valid = used[image] & truth.present.flatten()[row, None]
        shared = pack(Candidates(anchor[image][None], valid[None]), num_images * pairs.num_anchors)
        yield _block(truth, row, shared), before[row].flatten()[shared.slot]


def _masked(anchors: Anchors, truth: PaddedTruth, region: Region, limit: int) -> Iterator[Block]:
    device, num_anchors = truth.boxes.device, len(anchors.points)
    num_images, per_image = truth.present.shape
    point, level = anchors.points.to(truth.boxes.dtype), level_of_anchors(anchors)
    low, high, present = region.low.flatten(0, 1), region.high.flatten(0, 1), truth.present.flatten()
    every_anchor = torch.arange(num_anchors, device=device)
    for row in torch.arange(num_images * per_image, device=device).split(max(1, limit // num_anchors)):
        real = ((point > low[row][:, level]) & (point < high[row][:, level])).all(-1) & present[row, None]
        anchor = row.div(per_image, rounding_mode="floor")[:, None] * num_anchors + every_anchor
        slot = torch.arange(real.numel(), device=device)
        box = slot.div(num_anchors, rounding_mode="floor")
        size = (1, len(row), num_anchors)
        yield _block(truth, row, Pairs(box, anchor.flatten(), real.flatten(), slot, size, num_images * num_anchors))
