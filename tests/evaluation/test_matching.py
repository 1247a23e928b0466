"""Matchings, against programs that try one after the other, or everything."""

from itertools import permutations

import numpy as np
import pytest

from otadet.evaluation.matching import HeaviestMatching, first_come


def one_after_the_other(pairs: list[tuple[int, int]], truths: int) -> list[int]:
    holder = [-1] * truths
    for found, truth in pairs:
        if found not in holder and holder[truth] == -1:
            holder[truth] = found
    return holder


@pytest.mark.parametrize("seed", range(40))
def test_the_first_come_are_served_first(seed):
    rng = np.random.default_rng(seed)
    found, truths = rng.integers(1, 30), rng.integers(1, 12)
    lists = {number: rng.permutation(truths)[: rng.integers(0, truths + 1)].tolist() for number in range(found)}
    pairs = [(number * 3, truth) for number, liked in lists.items() for truth in liked]
    columns = np.array(pairs, np.int64).reshape(-1, 2).T
    assert first_come(*columns, truths).tolist() == one_after_the_other(pairs, truths)


def heaviest(weights: np.ndarray) -> float:
    """The largest sum of one weight per row and column, none of which need have one; 0 is no pair."""
    rows, columns = weights.shape
    padded = np.zeros((rows, columns + rows))
    padded[:, :columns] = weights
    return max(padded[np.arange(rows), list(chosen)].sum() for chosen in permutations(range(columns + rows), rows))


@pytest.mark.parametrize("seed", range(25))
def test_the_matching_is_the_heaviest_after_every_row(seed):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 1, (4, rng.integers(1, 4))) * (rng.random((4, 1)) < 0.9)
    weights *= rng.random(weights.shape) < 0.7
    matching = HeaviestMatching()
    for row in range(4):
        matching.add(row, {column: weight for column, weight in enumerate(weights[row].tolist()) if weight})
        taken = list(matching.column_of.values())
        assert len(set(taken)) == len(taken)
        total = sum(weights[pair] for pair in matching.column_of.items())
        assert total == pytest.approx(heaviest(weights[: row + 1]))


def test_a_row_makes_others_move():
    """0.8 + 0.85 is more than 0.9."""
    matching = HeaviestMatching()
    matching.add(0, {0: 0.9, 1: 0.8})
    matching.add(1, {0: 0.85})
    assert matching.column_of == {0: 1, 1: 0}
