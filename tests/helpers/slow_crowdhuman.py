"""CrowdHuman's evaluation once more, in plain Python, box by box, from its description alone."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

Box = tuple[float, float, float, float]
REFERENCES = (0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0)


class Picture(NamedTuple):
    """One image: xyxy boxes in pixels."""

    width: float
    height: float
    people: list[Box]
    regions: list[Box]
    """Ignored."""
    found: list[tuple[Box, float]]
    """Box and score, in the order of detection."""


def inside(box: Box, picture: Picture) -> Box:
    left, top, right, bottom = box
    return (
        min(max(left, 0), picture.width),
        min(max(top, 0), picture.height),
        min(max(right, 0), picture.width),
        min(max(bottom, 0), picture.height),
    )


def area(box: Box) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def common(a: Box, b: Box) -> float:
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def overlap(a: Box, b: Box) -> float:
    both = common(a, b)
    union = area(a) + area(b) - both
    return both / union if union > 0 else 0.0


def is_excused(box: Box, picture: Picture) -> bool:
    in_regions = [common(box, inside(region, picture)) for region in picture.regions]
    return area(box) > 0 and any(part / area(box) > 0.5 for part in in_regions)


def outcomes(picture: Picture) -> list[tuple[float, bool]]:
    """(score, whether it found somebody) of each detection that counts."""
    people = [inside(box, picture) for box in picture.people]
    free = set(range(len(people)))
    told = []
    for box, score in sorted(picture.found, key=lambda one: one[1], reverse=True):
        clipped = inside(box, picture)
        best, whom = 0.5, None
        for number in sorted(free):
            iou = overlap(clipped, people[number])
            if iou > best:
                best, whom = iou, number
        if whom is not None:
            free.remove(whom)
            told.append((score, True))
        elif not is_excused(clipped, picture):
            told.append((score, False))
    return told


def curve_scores(pictures: list[Picture]) -> dict[str, float]:
    told = [one for picture in pictures for one in outcomes(picture)]
    told.sort(key=lambda one: one[0], reverse=True)
    people = sum(len(picture.people) for picture in pictures)
    points = []
    right = wrong = 0
    for _, is_right in told:
        right, wrong = right + is_right, wrong + (not is_right)
        points.append((right / people, right / (right + wrong), wrong / len(pictures)))
    if not points:
        return {"MR": 1.0, "AP": 0.0, "recall": 0.0}
    misses = []
    for reference in REFERENCES:
        chosen = points[-1]
        for point in points:
            if point[2] >= reference:
                chosen = point
                break
        misses.append(1 - chosen[0])
    area_below = 0.0
    for before, after in pairwise(points):
        area_below += (after[0] - before[0]) * (before[1] + after[1]) / 2
    product = math.exp(sum(map(math.log, misses)) / 9) if min(misses) > 0 else 0.0
    return {"MR": product, "AP": area_below, "recall": points[-1][0]}


def jaccard(picture: Picture, threshold: float) -> tuple[float, bool]:
    """The index of one image, and whether anything counts there."""
    people = [inside(box, picture) for box in picture.people]
    found = [inside(box, picture) for box, score in picture.found if score > threshold]

    @cache
    def heaviest(number: int, taken: int) -> tuple[float, tuple[tuple[int, int], ...]]:
        """The largest sum of IoUs of the detections from `number` on, with the people that are not yet taken."""
        if number == len(found):
            return 0.0, ()
        best = heaviest(number + 1, taken)
        for person, box in enumerate(people):
            iou = overlap(found[number], box)
            if iou > 0.5 and not taken >> person & 1:
                rest, pairs = heaviest(number + 1, taken | 1 << person)
                if rest + iou > best[0]:
                    best = rest + iou, ((number, person), *pairs)
        return best

    pairs = heaviest(0, 0)[1]
    matched_found, matched_people = {one for one, _ in pairs}, {person for _, person in pairs}
    counted = sum(n in matched_found or not is_excused(box, picture) for n, box in enumerate(found))
    counted += sum(n in matched_people or not is_excused(box, picture) for n, box in enumerate(people))
    return (len(pairs) / (counted - len(pairs)) if counted else 0.0), counted > 0


def jaccard_index(pictures: list[Picture]) -> float:
    best = 0.0
    for step in range(10):
        indices = [jaccard(picture, step / 10) for picture in pictures]
        images = sum(counts for _, counts in indices)
        best = max(best, sum(index for index, _ in indices) / images if images else 0.0)
    return best


def slow_scores(pictures: list[Picture]) -> dict[str, float]:
    """MR, AP, recall and JI of one class; -1 where there is nobody."""
    if not any(picture.people for picture in pictures):
        return dict.fromkeys(("MR", "AP", "recall", "JI"), -1.0)
    return {**curve_scores(pictures), "JI": jaccard_index(pictures)}
