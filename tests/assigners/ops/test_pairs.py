"""The operations on pairs, by hand and against loops; as a CPU lists the pairs and as an accelerator pads them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from otadet.assigners.base import PaddedTruth
from otadet.assigners.ops import candidates, pairs, ties, used
from otadet.assigners.ops.candidates import Candidates
from otadet.assigners.ops.pairs import Pairs, joined
from otadet.assigners.ops.ties import CheapestWins, Contest
from otadet.assigners.ops.used import number_used_anchors
from otadet.structures import BACKGROUND

A, X = 5, False
INF = float("inf")


@pytest.fixture(params=[True, False], ids=["host", "accelerator"], autouse=True)
def on_host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    for module in (candidates, pairs, ties, used):
        monkeypatch.setattr(module, "on_host", lambda tensor: request.param)
    return request.param


def listed() -> Pairs:
    """Two images of two boxes: [1, 2, 4] and [2, 3], then [0] and none; A is 5, K is 3."""
    anchor_index = torch.tensor([[[1, 2, 4], [2, 0, 3]], [[0, 0, 0], [0, 0, 0]]])
    valid = torch.tensor([[[True, True, True], [True, X, True]], [[X, True, X], [X, X, X]]])
    return Candidates(anchor_index, valid).pairs(A)


def values_of(table: list[list[list[float]]], found: Pairs) -> Tensor:
    """(P,) from a (N, G, K) table."""
    return torch.tensor(table, dtype=torch.float64).flatten()[found.table_index]


def as_lists(found: Pairs) -> list[tuple[int, int]]:
    """The valid pairs, (gt_row, anchor_row)."""
    rows = zip(found.gt_row.tolist(), found.anchor_row.tolist(), found.valid.tolist(), strict=True)
    return [(gt_row, anchor_row) for gt_row, anchor_row, valid in rows if valid]


COST = [[[3.0, 1.0, 2.0], [5.0, 0.0, 4.0]], [[0.0, 7.0, 0.0], [0.0, 0.0, 0.0]]]
"""Padding is the cheapest of its rows, and is not to be taken."""


def test_a_table_as_a_list(on_host: bool) -> None:
    found = listed()
    assert as_lists(found) == [(0, 1), (0, 2), (0, 4), (1, 2), (1, 3), (2, 5)]
    assert len(found.valid) == (6 if on_host else 12)
    assert found.gt_index[found.valid].tolist() == [0, 0, 0, 1, 1, 0]
    assert found.anchor_index[found.valid].tolist() == [1, 2, 4, 2, 3, 0]
    assert found.image[found.valid].tolist() == [0, 0, 0, 0, 0, 1]
    table = found.table(values_of(COST, found), -1.0)
    assert table.tolist() == [[[3, 1, 2], [5, -1, 4]], [[-1, 7, -1], [-1, -1, -1]]]


def test_the_cheapest_per_box() -> None:
    found = listed()
    cost = values_of(COST, found)
    best, rows = found.cheapest(cost, 2)
    assert best.table_size == (2, 2, 2)
    assert as_lists(best) == [(0, 2), (0, 4), (1, 3), (1, 2), (2, 5)]
    assert best.table(cost[rows], INF).tolist() == [[[1, 2], [4, 5]], [[7, INF], [INF, INF]]]
    assert best.count_per_box().tolist() == [[2, 2], [1, 0]]


def test_more_than_there_are_and_a_supply_and_a_limit() -> None:
    found = listed()
    cost = values_of(COST, found)
    assert as_lists(found.cheapest(cost, 9)[0]) == [(0, 2), (0, 4), (0, 1), (1, 3), (1, 2), (2, 5)]
    supply = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    assert as_lists(found.cheapest(cost, 9, supply)[0]) == [(0, 2), (1, 3), (1, 2)]
    assert as_lists(found.cheapest(cost, 2, below=4.0)[0]) == [(0, 2), (0, 4)]


def test_a_cost_that_is_not_a_number_is_not_taken() -> None:
    found = listed()
    cost = torch.where(found.anchor_index == 2, torch.nan, values_of(COST, found))
    assert as_lists(found.cheapest(cost, 2)[0]) == [(0, 4), (0, 1), (1, 3), (2, 5)]


def test_the_cheapest_per_box_and_group() -> None:
    found = listed()
    cost, group = values_of(COST, found), (found.anchor_index > 1).long()
    best, rows = found.cheapest_per_group(cost, 1, group, 2)
    assert best.table_size == (2, 2, 2)
    assert best.table(cost[rows], INF).tolist() == [[[3, 1], [INF, 4]], [[7, INF], [INF, INF]]]
    assert as_lists(best) == [(0, 1), (0, 2), (1, 3), (2, 5)]


@pytest.mark.parametrize("seed", range(4))
def test_the_cheapest_of_random_tables_are_those_of_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    anchor_index = torch.stack([torch.randperm(9, generator=generator)[:7] for _ in range(6)]).view(2, 3, 7)
    valid = torch.rand(2, 3, 7, generator=generator) < 0.6
    found = Candidates(anchor_index, valid).pairs(9)
    # Whole numbers: many are equal, and any of the equal ones is right.
    cost = torch.randint(0, 5, (len(found.valid),), generator=generator).double()
    group = found.anchor_index.remainder(3)
    table = found.table(cost, INF)
    for k in (1, 3, 7):
        best, rows = found.cheapest(cost, k)
        assert torch.equal(best.table(cost[rows], INF), table.sort().values[..., :k])
        grouped, rows = found.cheapest_per_group(cost, k, group, 3)
        for number in range(3):
            expected = found.table(torch.where(group == number, cost, INF), INF).sort().values[..., :k]
            assert torch.equal(grouped.table(cost[rows], INF)[..., number * k :][..., :k], expected)


def test_the_best_per_anchor_and_per_box() -> None:
    found = listed()
    value, valid = values_of(COST, found), found.valid
    assert found.largest_per_anchor(value)[valid].tolist() == [3, 5, 2, 5, 4, 7]
    assert found.smallest_per_anchor(value)[valid].tolist() == [3, 1, 2, 1, 4, 7]
    assert found.largest_per_box(value)[valid].tolist() == [3, 3, 3, 5, 5, 7]
    start = torch.tensor([[9.0, 0, 4, 0, 0], [8.0, 0, 0, 0, 0]]).double()
    assert found.largest_per_anchor(value, start)[valid].tolist() == [3, 5, 2, 5, 4, 8]
    assert start.tolist()[0] == [9, 0, 4, 0, 0]


def test_conditions_per_anchor() -> None:
    found = listed()
    everything = torch.ones_like(found.valid)
    assert found.first_box(everything).tolist() == [[-1, 0, 0, 1, 0], [0, -1, -1, -1, -1]]
    assert found.first_box(found.gt_index == 1).tolist() == [[-1, -1, 1, 1, -1], [-1] * 5]
    assert found.any_of_anchor(found.gt_index == 1).tolist() == [[False, False, True, True, False], [False] * 5]


def test_only_some_and_several_lists_as_one() -> None:
    found = listed()
    first, second = found.only(found.gt_index == 1), found.only(found.gt_index == 0)
    assert as_lists(first) == [(1, 2), (1, 3)]
    both = joined([first, second])
    assert as_lists(both) == [(1, 2), (1, 3), (0, 1), (0, 2), (0, 4), (2, 5)]
    assert (both.num_anchors, both.num_boxes) == (A, 4)


def test_used_anchors_are_numbered_image_by_image(on_host: bool) -> None:
    found = listed()
    numbered = number_used_anchors(found)
    index, rows = numbered.index[found.valid], found.anchor_row[found.valid]
    # Four used anchors in the first image, one in the second; the table has six places per image, but A is 5.
    assert numbered.count == (4 if on_host else 5)
    assert len(set(zip(index.tolist(), rows.tolist(), strict=True))) == len(index.unique()) == len(rows.unique()) == 5
    assert index.div(numbered.count, rounding_mode="floor").tolist() == [0, 0, 0, 0, 0, 1]
    assert torch.equal(numbered.anchor_rows(found)[index], rows)
    assert numbered.renumbered(found).anchor_index[found.valid].max() < numbered.count


def empty_truth() -> PaddedTruth:
    """Two images of two boxes."""
    return PaddedTruth(torch.zeros(2, 2, 4).double(), torch.zeros(2, 2).long(), torch.ones(2, 2).bool())


def test_a_contest_in_one_go_and_in_parts() -> None:
    found = listed()
    value = values_of(COST, found)
    whole, parts = Contest.empty(empty_truth(), A), Contest.empty(empty_truth(), A)
    whole.add(found, value)
    for gt_index in (1, 0):
        parts.add(found, value, found.gt_index == gt_index)
    for contest in (whole, parts):
        assignment = contest.assignment()
        assert assignment.gt_index.tolist() == [[BACKGROUND, 0, 1, 1, 0], [0] + 4 * [BACKGROUND]]
        assert assignment.ambiguous.nonzero().tolist() == [[0, 2]]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_equal_values_the_first_box_wins_in_any_order_of_parts(order: tuple[int, int]) -> None:
    found, contest = listed(), Contest.empty(empty_truth(), A)
    for gt_index in order:
        contest.add(found, torch.ones(len(found.valid)).double(), found.gt_index == gt_index)
    assert contest.assignment().gt_index[0].tolist() == [BACKGROUND, 0, 0, 1, 0]


def test_competing_without_a_claim_wins_but_is_not_ambiguous() -> None:
    found, contest = listed(), Contest.empty(empty_truth(), A)
    contest.compete(found, values_of(COST, found))
    contest.claim(found, found.valid & (found.gt_index == 0))
    assert contest.winner[0].tolist() == [BACKGROUND, 0, 1, 1, 0]
    assert contest.count.tolist() == [[0, 1, 1, 0, 1], [1, 0, 0, 0, 0]]


def test_cheapest_wins_looks_at_all_candidates_only_where_two_take() -> None:
    """Anchor 2 is taken by box 1 alone, though it is box 0's cheapest; then by both."""
    found = listed()
    cost = values_of(COST, found)
    for takers, gt_index, ambiguous in (((1,), 1, False), ((0, 1), 0, True)):
        ledger = CheapestWins.empty(empty_truth(), A)
        is_taken = (found.anchor_index == 2) & torch.isin(found.gt_index, torch.tensor(takers))
        ledger.add(found, cost, found.only(is_taken))
        assignment = ledger.assignment()
        assert assignment.gt_index.tolist() == [[-1, -1, gt_index, -1, -1], [-1] * 5]
        assert assignment.ambiguous[0, 2] == ambiguous
