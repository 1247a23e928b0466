"""Why an AP is 0 or -1: what was compared with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from otadet.evaluation.compared import UNKNOWN, Compared
from otadet.evaluation.overlaps import ious, same_keys

NEGLIGIBLE_AP = 0.001
"""An AP below this is shown as 0 and deserves an explanation."""


@dataclass(frozen=True)
class Diagnosis:
    """The counts that tell a wrong set-up from a bad model."""

    images: int
    """In the data set."""
    truths: int
    """Ground-truth boxes without crowd regions."""
    crowd_regions: int
    """Ground truth that is no single object."""
    predictions: int
    """Detections of all images."""
    predicted_images: int
    """Image ids that have predictions."""
    matching_images: int
    """Those of them that are in the data set."""
    predicted_classes: tuple[str, ...]
    """Names of the classes of the predictions."""
    truth_classes: tuple[str, ...]
    """Names of the classes of the ground truth."""
    matching_classes: tuple[str, ...]
    """Category ids, by name, that have both predictions and ground truth."""
    top_score: float | None
    """Of all predictions, 0-1; None where there is none."""
    best_iou: float
    """The largest between any prediction and any object of its image, 0-1."""
    best_class_iou: float
    """The same between a prediction and an object of its class."""
    most_truths_per_image: int
    """The largest number of ground-truth boxes that one image has."""
    cause: str
    """The likely reason for an AP of 0 or -1; empty for any other AP."""

    def __str__(self) -> str:
        """One line."""
        top = "none" if self.top_score is None else f"{self.top_score:.3f}"
        return (
            f"{self.truths} ground truths, {self.predictions} predictions; image ids that match: "
            f"{self.matching_images} of {self.predicted_images} predicted; category ids: "
            f"{len(self.matching_classes)} of {len(self.predicted_classes)}; top score {top}; "
            f"best IoU {self.best_iou:.2f}"
        )

    def explanation(self) -> str:
        """Several lines: each count by itself, and the likely cause."""
        top = "no predictions" if self.top_score is None else f"{self.top_score:.4f}"
        lines = {
            "ground truths": f"{self.truths} in {self.images} images, {self.crowd_regions} crowd regions",
            "predictions": f"{self.predictions}",
            "image ids": f"{self.predicted_images} have predictions, {self.matching_images} of them are in the data",
            "category ids": f"predicted: {_listed(self.predicted_classes)}; in the ground truth: "
            f"{_listed(self.truth_classes)}; in both: {_listed(self.matching_classes)}",
            "top score": top,
            "best IoU": f"{self.best_iou:.3f} with any object, {self.best_class_iou:.3f} with one of the same class",
            "likely cause": self.cause or "none found",
        }
        return "\n".join(f"  {name:<14} {text}" for name, text in lines.items())


def diagnose(compared: Compared, ap: float) -> Diagnosis:
    """Count what an evaluation with this AP compared."""
    truths, detections, names = compared.truths, compared.found, compared.class_names
    objects = ~truths.ignored
    known = detections.image_rows[detections.image_rows != UNKNOWN]
    present, predicted = np.unique(truths.labels[objects]), np.unique(detections.labels)
    best_iou, best_class_iou = _best_ious(compared)
    found = Diagnosis(
        images=len(compared.image_ids),
        truths=int(objects.sum()),
        crowd_regions=int(truths.ignored.sum()),
        predictions=len(detections),
        predicted_images=detections.images,
        matching_images=len(np.unique(known)),
        predicted_classes=_names(predicted, names),
        truth_classes=_names(present, names),
        matching_classes=_names(np.intersect1d(predicted, present), names),
        top_score=float(detections.scores.max()) if len(detections) else None,
        best_iou=best_iou,
        best_class_iou=best_class_iou,
        most_truths_per_image=int(np.bincount(truths.image_rows[objects]).max(initial=0)),
        cause="",
    )
    return replace(found, cause=_cause(found)) if ap < NEGLIGIBLE_AP else found


def _cause(found: Diagnosis) -> str:
    if not found.truths:
        return (
            "the data set has no ground truth to compare with, so every number is -1: is it the right annotation file "
            "(a test split has none), and are its boxes not all crowd regions?"
        )
    if not found.predictions:
        return (
            "the model found nothing above score_threshold: is it trained, is it the right checkpoint, and is "
            "score_threshold low enough (0.05 or less for evaluation)?"
        )
    if not found.matching_images:
        return "no predicted image id is in the data set: the predictions are of another data set or split"
    if not found.matching_classes:
        return (
            "no predicted class occurs in the ground truth: do the class names of the model and of the data stand in "
            "the same order?"
        )
    if found.best_iou < 0.5:
        return (
            "no prediction overlaps any object by half: the model has not learned boxes yet, or they are not in pixels "
            "of the original images"
        )
    if found.best_class_iou < 0.5:
        return (
            "objects are found, but under other class names: do the class names of the model and of the data stand in "
            "the same order?"
        )
    return (
        f"some boxes are right, but too few among {found.predictions} predictions, or too low in score: the model is "
        f"barely trained, or a high score_threshold leaves little over"
    )


def _best_ious(compared: Compared) -> tuple[float, float]:
    """The largest IoU between a prediction and an object of its image, of any class and of the same class."""
    objects = np.flatnonzero(~compared.truths.ignored)
    found, boxes, labels = compared.found, compared.truths.boxes[objects], compared.truths.labels[objects]
    best, best_of_class = 0.0, 0.0
    for those, here in same_keys(found.image_rows, compared.truths.image_rows[objects]):
        overlaps = ious(boxes[here], found.boxes[those])
        same_class = labels[here][:, None] == found.labels[those][None]
        best = max(best, float(overlaps.max()))
        best_of_class = max(best_of_class, float((overlaps * same_class).max()))
    return best, best_of_class


def _names(labels: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[label] for label in labels.tolist())


def _listed(names: tuple[str, ...]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
