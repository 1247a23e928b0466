"""CrowdHuman's evaluation (Shao et al., 2018): miss rate, average precision, recall and Jaccard index at IoU 0.5.

As the data set's toolkit computes them (the one that papers use is in github.com/Purkialo/CrowdDet, lib/evaluate):

* Boxes, of people and of detections, are clipped to the image.
* **Matching.** In each image the detections, the best score first, take the free object with the largest IoU above 0.5.
  One that gets none is left out of the count if more than half of its own area (IoA) lies in an ignored region, which
  may excuse any number of them. Otherwise it is a false positive. Of equal scores the earlier image of the data comes
  first, and in an image the detection that was found first.
* **MR**, Caltech's log-average miss rate, MR^-2 (Dollár et al., 2012): the geometric mean of the miss rate, 1 - recall,
  at nine numbers of false positives per image (FPPI), evenly spaced in the logarithm from 0.01 to 1. The miss rate at
  such a number is that of the first detection with which the FPPI reaches it, or of the last where none does. A single
  miss rate of 0 makes MR 0.
* **AP**: the area below precision over recall, by trapezoids from each detection to the next. There is no envelope, and
  what lies left of the first detection does not count: of M objects perfectly detected it is 1 - 1/M.
* **recall**, of all detections whatever their score.
* **JI**, the Jaccard index (Chu et al., "Detection in Crowded Scenes: One Proposal, Multiple Predictions", 2020): in an
  image, matches / (objects + detections - matches), where objects and detections are matched one to one with IoUs above
  0.5 whose sum is as large as can be, and those unmatched that lie in an ignored region by more than half do not count.
  It is averaged over the images where anything counts, for the detections above each of the scores 0, 0.1, ..., 0.9; JI
  is the best of the ten.

Every class is measured by itself, with the ignored regions of that class; the numbers are means over the classes that
have objects. CrowdHuman has one. Unlike the toolkit, objects that lie outside of their image do not count as missed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

import otadet
from otadet.data.dataset import DetectionDataset
from otadet.errors import UserError
from otadet.evaluation.compared import Compared, compare
from otadet.evaluation.crowd import Crowd, crowd_of, hits, pairs_of
from otadet.evaluation.diagnosis import diagnose
from otadet.evaluation.jaccard import jaccard_index
from otadet.evaluation.judge import AUTO
from otadet.evaluation.result import NO_TRUTH, ClassResult, Result
from otadet.structures import Detections

SCORES = ("MR", "AP", "recall", "JI")
FPPI = np.array([0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0])
"""False positives per image at which the miss rate is read, rounded as in the toolkit."""


def find_own_judge(name: str = AUTO) -> str:
    """What computes the numbers. Raises `UserError` for any name but "auto": there is no choice."""
    if name != AUTO:
        raise UserError(f"judge {name}: computes COCO's numbers alone; CrowdHuman's are computed by otadet itself")
    return f"otadet {otadet.__version__}"


def evaluate_crowdhuman(
    dataset: DetectionDataset,
    detections: Mapping[int, Detections],
    image_ids: Collection[int] | None = None,
    *,
    judge: str = AUTO,
) -> Result:
    """Compare detections, image id -> `Detections` in original pixels, with the ground truth of `dataset`.

    Images without an entry count as images without detections. image_ids: of the images that count; None: all. judge:
    as in `find_own_judge`. Raises `UserError` for a label that the data set does not have.
    """
    program = find_own_judge(judge)
    compared = compare(dataset, detections, image_ids)
    per_class = [measure_class(compared, label) for label in range(len(compared.class_names))]
    stats = {name: _mean([one.scores[name] for one in per_class if one.truths]) for name in SCORES}
    return Result("crowdhuman", program, stats, per_class, diagnose(compared, stats["AP"]))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else NO_TRUTH


def measure_class(compared: Compared, label: int) -> ClassResult:
    """`SCORES` of one class."""
    crowd = crowd_of(compared, label)
    scores = dict.fromkeys(SCORES, NO_TRUTH)
    if len(crowd.objects):
        pairs = pairs_of(crowd)
        scores = {**_curve_scores(crowd, hits(crowd, pairs)), "JI": jaccard_index(crowd, pairs)}
    return ClassResult(
        compared.class_names[label],
        scores,
        truths=len(crowd.objects),
        predictions=int(np.sum(compared.found.labels == label)),
    )


def _curve_scores(crowd: Crowd, hit: np.ndarray) -> dict[str, float]:
    """hit: (D,) bool, whether the detection takes an object."""
    counted = np.flatnonzero(hit | ~crowd.found_excused)
    if not len(counted):
        return {"MR": 1.0, "AP": 0.0, "recall": 0.0}
    ranked = hit[counted[np.argsort(-crowd.scores[counted], kind="stable")]]
    true, false = np.cumsum(ranked), np.cumsum(~ranked)
    recall, precision = true / len(crowd.objects), true / (true + false)
    at = np.minimum(np.searchsorted(false / crowd.images, FPPI), len(ranked) - 1)
    with np.errstate(divide="ignore"):
        miss_rate = np.exp(np.log(1 - recall[at]).mean())
    area = (np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum()
    return {"MR": float(miss_rate), "AP": float(area), "recall": float(recall[-1])}
