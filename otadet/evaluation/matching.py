"""Who finds whom: detections and objects of the same image and class, matched one to one."""

from __future__ import annotations

from collections import defaultdict

import numpy as np


def first_come(pair_found: np.ndarray, pair_truth: np.ndarray, truths: int) -> np.ndarray:
    """One detection after the other takes the first object of its list that is still free.

    That is a stable matching in which every object prefers the earlier detection, and there is only one such matching:
    all can propose at once, objects keep the earliest who does, and who was refused proposes to the next of its list
    (Gale and Shapley, 1962), until nobody is refused any more.

    Args:
        pair_found: (P,) int64 number of the detection, sorted; the lower, the earlier its turn.
        pair_truth: (P,) int64 number of an object in the list of that detection, in the order of its liking.
        truths: how many objects there are.

    Returns (truths,) int64: the number of the detection that has each object; -1 where none has.

    >>> first_come(np.array([0, 1, 1]), np.array([0, 0, 2]), 3)
    array([ 0, -1,  1])
    """
    detections, start = np.unique(pair_found, return_index=True)
    nobody = len(detections)
    end = np.append(start[1:], len(pair_found))
    place = start.copy()
    holder = np.full(truths, nobody)
    asking = np.arange(nobody)
    while len(asking):
        before = holder.copy()
        wanted = pair_truth[place[asking]]
        np.minimum.at(holder, wanted, asking)
        bumped = before[holder != before]
        asking = np.concatenate((asking[holder[wanted] != asking], bumped[bumped != nobody]))
        place[asking] += 1
        asking = asking[place[asking] < end[asking]]
    return np.append(detections, -1)[holder]


class HeaviestMatching:
    """The matching of the largest total weight between rows, which come one by one, and columns.

    Kept the heaviest by one augmentation per row: along the path of alternating pairs that gains most, which ends at a
    free column, or at a row that goes without.
    """

    def __init__(self) -> None:
        self.column_of: dict[int, int] = {}
        """Row -> its column, for the rows that have one."""
        self._row_of: dict[int, int] = {}
        self._weights: dict[int, dict[int, float]] = defaultdict(dict)

    def add(self, row: int, weights: dict[int, float]) -> None:
        """A row, and the weights above 0 of its pairs, column -> weight; it may match no other column."""
        self._weights[row] = weights
        gains, comes_from = self._gains(row)
        best, last, dropped = 0.0, None, None
        for column, gain in gains.items():
            owner = self._row_of.get(column)
            total = gain if owner is None else gain - self._weights[owner][column]
            if total > best:
                best, last, dropped = total, column, owner
        if dropped is not None:
            del self.column_of[dropped]
        while last is not None:
            taker = comes_from[last]
            before = self.column_of.get(taker)
            self.column_of[taker], self._row_of[last] = last, taker
            last = before

    def _gains(self, row: int) -> tuple[dict[int, float], dict[int, int]]:
        """Column -> what the matching gains by the best path from the row that has someone new take the column, without
        the loss of who has it now; and column -> the new one."""
        gains, comes_from = dict(self._weights[row]), dict.fromkeys(self._weights[row], row)
        waiting = list(gains)
        for column in waiting:
            owner = self._row_of.get(column)
            if owner is None:
                continue
            freed = gains[column] - self._weights[owner][column]
            for other, weight in self._weights[owner].items():
                if other != column and freed + weight > gains.get(other, 0.0) + 1e-12:
                    gains[other], comes_from[other] = freed + weight, owner
                    waiting.append(other)
        return gains, comes_from
