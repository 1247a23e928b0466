"""One class of a crowd: who is there, who was found, and who overlaps whom, as CrowdHuman's evaluation sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otadet.evaluation.compared import UNKNOWN, Compared
from otadet.evaluation.matching import first_come
from otadet.evaluation.overlaps import ious, same_keys, shares_inside

MIN_OVERLAP = 0.5
"""IoU and IoA must be larger."""


@dataclass(frozen=True, eq=False)
class Crowd:
    """Objects (M,) and detections (D,), each sorted by the row of its image; boxes are clipped to it."""

    images: int
    object_rows: np.ndarray
    objects: np.ndarray
    """(M, 4) xyxy."""
    object_excused: np.ndarray
    """(M,) bool: more than half of it lies in an ignored region."""
    found_rows: np.ndarray
    found: np.ndarray
    """(D, 4) xyxy; those of an image by falling score."""
    found_excused: np.ndarray
    """(D,) bool: more than half of it lies in an ignored region."""
    scores: np.ndarray
    """(D,)"""


@dataclass(frozen=True, eq=False)
class Pairs:
    """(P,) each: detections and objects of the same image that overlap enough, sorted by detection."""

    found: np.ndarray
    """Index of the detection."""
    object: np.ndarray
    """Index of the object."""
    iou: np.ndarray


def crowd_of(compared: Compared, label: int) -> Crowd:
    """The objects and detections of one class. Detections in images that are not in the data are left out."""
    truths, found = compared.truths, compared.found
    sizes = compared.sizes[:, [1, 0, 1, 0]]
    is_object, is_region = (
        np.flatnonzero((truths.labels == label) & (truths.ignored == ignored)) for ignored in (False, True)
    )
    there = np.flatnonzero((found.labels == label) & (found.image_rows != UNKNOWN))
    there = there[np.lexsort((-found.scores[there], found.image_rows[there]))]
    object_rows, region_rows = truths.image_rows[is_object], truths.image_rows[is_region]
    objects = truths.boxes[is_object].clip(0, sizes[object_rows])
    regions = truths.boxes[is_region].clip(0, sizes[region_rows])
    found_rows = found.image_rows[there]
    boxes = found.boxes[there].clip(0, sizes[found_rows])
    return Crowd(
        images=len(compared.image_ids),
        object_rows=object_rows,
        objects=objects,
        object_excused=_excused(object_rows, objects, region_rows, regions),
        found_rows=found_rows,
        found=boxes,
        found_excused=_excused(found_rows, boxes, region_rows, regions),
        scores=found.scores[there],
    )


def _excused(rows: np.ndarray, boxes: np.ndarray, region_rows: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """(M,) bool, whether more than half of a box lies in one ignored region of its image."""
    excused = np.zeros(len(rows), bool)
    for those, here in same_keys(rows, region_rows):
        excused[those] = (shares_inside(boxes[those], regions[here]) > MIN_OVERLAP).any(axis=1)
    return excused


def pairs_of(crowd: Crowd) -> Pairs:
    """Those with a larger IoU than `MIN_OVERLAP`."""
    found, objects, overlap = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for those, here in same_keys(crowd.found_rows, crowd.object_rows):
        overlaps = ious(crowd.found[those], crowd.objects[here])
        rows, columns = np.nonzero(overlaps > MIN_OVERLAP)
        found.append(rows + those.start)
        objects.append(columns + here.start)
        overlap.append(overlaps[rows, columns])
    return Pairs(np.concatenate(found), np.concatenate(objects), np.concatenate(overlap))


def hits(crowd: Crowd, pairs: Pairs) -> np.ndarray:
    """(D,) bool: the detection takes an object, each in its turn the free one with the largest IoU."""
    by_liking = np.lexsort((pairs.object, -pairs.iou, pairs.found))
    holders = first_come(pairs.found[by_liking], pairs.object[by_liking], len(crowd.objects))
    hit = np.zeros(len(crowd.found), bool)
    hit[holders[holders >= 0]] = True
    return hit
