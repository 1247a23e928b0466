"""The Jaccard index of a crowd (Chu et al., 2020), as `otadet.evaluation.crowdhuman` describes it."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from otadet.evaluation.crowd import Crowd, Pairs
from otadet.evaluation.matching import HeaviestMatching

THRESHOLDS = np.arange(10) / 10
"""Detections with a higher score count."""


def jaccard_index(crowd: Crowd, pairs: Pairs) -> float:
    """The best over `THRESHOLDS` of the mean over the images, 0-1."""
    # (S, thresholds): what is there and found, less what is excused, which counts after all where it is matched.
    found_rows, scores = (each[~crowd.found_excused] for each in (crowd.found_rows, crowd.scores))
    found = [np.bincount(found_rows[scores > threshold], minlength=crowd.images) for threshold in THRESHOLDS]
    there = np.bincount(crowd.object_rows[~crowd.object_excused], minlength=crowd.images)
    counted, matches = there[:, None] + np.stack(found, axis=1), np.zeros((crowd.images, len(THRESHOLDS)))
    for row, numbers in groupby(range(len(pairs.found)), key=crowd.found_rows[pairs.found].tolist().__getitem__):
        matches[row], excused = _matched(crowd, pairs, list(numbers))
        counted[row] += excused
    union = counted - matches
    shares = np.divide(matches, union, out=np.zeros_like(matches), where=union > 0)
    images = (counted > 0).sum(axis=0)
    return float((shares.sum(axis=0) / np.maximum(images, 1)).max())


def _matched(crowd: Crowd, pairs: Pairs, numbers: list[int]) -> tuple[list[int], list[int]]:
    """For each threshold the matches in one image, and how many of the matched are excused, of both sides.

    numbers: of the image's pairs, in a row.
    """
    part = slice(numbers[0], numbers[-1] + 1)
    table = zip(pairs.found[part].tolist(), pairs.object[part].tolist(), pairs.iou[part].tolist(), strict=True)
    waiting = [
        (found, {one: iou for _, one, iou in group}) for found, group in groupby(table, key=lambda pair: pair[0])
    ]
    waiting.reverse()
    matching, scores = HeaviestMatching(), crowd.scores
    matches, excused = [0] * len(THRESHOLDS), [0] * len(THRESHOLDS)
    for place, threshold in reversed(list(enumerate(THRESHOLDS.tolist()))):
        while waiting and scores[waiting[-1][0]] > threshold:
            matching.add(*waiting.pop())
        matches[place] = len(matching.column_of)
        excused[place] = sum(
            int(crowd.found_excused[found]) + int(crowd.object_excused[one])
            for found, one in matching.column_of.items()
        )
    return matches, excused
