"""Which anchors lie in ignored regions: crowds, and whatever else nobody has annotated one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otadet.assigners.ops.inputs import on_host
from otadet.structures import Anchors, GroundTruth

TESTS_ON_HOST, TESTS_ON_DEVICE = 1 << 16, 1 << 22
"""Pairs of a region and a point that are tested in one go, on a CPU and on an accelerator."""


def in_ignored_regions(anchors: Anchors, truths: Sequence[GroundTruth]) -> Tensor | None:
    """(N, A) bool: whether the anchor's point lies in an ignored region of the image, or on its edge.

    None where no image has a region: that is known from shapes alone, and costs nothing. A region that is not finite
    holds no point.
    """
    given = [truth.ignored for truth in truths if truth.ignored is not None]
    total, point = sum(len(regions) for regions in given), anchors.points
    if total == 0:
        return None
    counts = torch.tensor([0 if truth.ignored is None else len(truth.ignored) for truth in truths])
    regions = torch.cat(given).to(point.dtype)
    image = torch.repeat_interleave(counts, output_size=total).to(point.device, non_blocking=True)
    low, high = torch.where(regions.isfinite().all(-1, keepdim=True), regions, torch.nan)[:, None].split(2, dim=-1)
    holders = torch.zeros(len(truths), len(point), dtype=torch.int32, device=point.device)
    step = max(1, (TESTS_ON_HOST if on_host(point) else TESTS_ON_DEVICE) // max(1, len(point)))
    for start in range(0, total, step):
        part = slice(start, start + step)
        holds = ((point >= low[part]) & (point <= high[part])).all(-1)
        holders.index_add_(0, image[part], holds.to(holders.dtype))
    return holders > 0
