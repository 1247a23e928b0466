"""Blocks of pairs against brute force, as a CPU lists them and as other devices mask them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from otadet.assigners.base import pad_truths
from otadet.assigners.ops import chunks as module
from otadet.assigners.ops.chunks import chunks
from otadet.assigners.ops.grids import Region, inside_boxes
from tests.helpers.problems import make_anchors, make_truth


def as_mask(found: list[module.Chunk], num_rows: int, num_anchors: int) -> Tensor:
    """(N * G, N * A) bool; fails where a pair comes twice."""
    counts = torch.zeros(num_rows, num_anchors, dtype=torch.int32)
    for chunk in found:
        row = chunk.box_rows[chunk.pairs.gt_row]
        counts.index_put_((row, chunk.pairs.anchor_row), chunk.pairs.valid.to(torch.int32), accumulate=True)
    assert counts.max() == 1
    return counts > 0


@pytest.mark.parametrize("limit", [1, 3000, 1 << 20])
@pytest.mark.parametrize("looks", [True, False])
def test_are_brute_force(limit: int, looks: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "on_host", lambda tensor: looks)
    anchors = make_anchors(100, 150)
    truth = pad_truths([make_truth(generator, size, 3, 100, 150) for size in (6, 0, 9)], 3)
    boxes = inside_boxes(truth, 5)
    wide = Region(boxes.low.clone(), boxes.high + 20)
    wide.low[:, 2], wide.high[:, 2] = -torch.inf, torch.inf
    for region in (boxes, wide):
        found = list(chunks(anchors, truth, region, limit))
        mask = as_mask(found, 27, 3 * len(anchors.points)).view(3, 9, 3, -1)
        level = torch.repeat_interleave(torch.tensor([height * width for height, width in anchors.level_sizes]))
        point = anchors.points.double()
        expected = (point > region.low[:, :, level]) & (point < region.high[:, :, level])
        expected = expected.all(-1) & truth.valid[..., None]
        for image in range(3):
            assert torch.equal(mask[image, :, image], expected[image])
        assert mask.sum() == expected.sum()


@pytest.mark.parametrize("looks", [True, False])
def test_no_table_is_larger_than_the_limit(
    looks: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "on_host", lambda tensor: looks)
    anchors = make_anchors(256, 320)
    truth = pad_truths([make_truth(generator, 40, 3, 256, 320)], 3)
    found = list(chunks(anchors, truth, inside_boxes(truth, 5), 6000))
    assert len(found) > 1
    for chunk in found:
        _, rows, places = chunk.pairs.table_size
        assert rows * places <= 6000
        assert chunk.pairs.table_index.unique().numel() == len(chunk.pairs.table_index)
        # What a table holds is its pairs, box by box.
        table = chunk.pairs.table(chunk.pairs.gt_row.double(), -1.0)[0]
        assert ((table == -1) | (table == torch.arange(rows)[:, None])).all()
