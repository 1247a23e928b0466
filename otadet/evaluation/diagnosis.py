"""Why an AP is 0 or -1: what was compared with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from otadet.boxes import pairwise_iou, xywh_to_xyxy

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
    predictions: int
    predicted_images: int
    """Image ids that have predictions."""
    matching_images: int
    """Those of them that are in the data set."""
    predicted_classes: tuple[str, ...]
    truth_classes: tuple[str, ...]
    matching_classes: tuple[str, ...]
    """Category ids, by name, that have both predictions and ground truth."""
    top_score: float | None
    """Of all predictions, 0-1; None where there is none."""
    best_iou: float
    """The largest between any prediction and any object of its image, 0-1."""
    best_class_iou: float
    """The same between a prediction and an object of its class."""
    most_truths_per_image: int
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


def diagnose(truth: dict, predictions: list[dict], names: Mapping[int, str], ap: float) -> Diagnosis:
    """Count what an evaluation with this AP compared.

    truth: a COCO data set; predictions: COCO results; names: category id -> class name.
    """
    objects = [annotation for annotation in truth["annotations"] if not annotation["iscrowd"]]
    image_ids = {image["id"] for image in truth["images"]}
    predicted_images = {prediction["image_id"] for prediction in predictions}
    predicted = {prediction["category_id"] for prediction in predictions}
    present = {annotation["category_id"] for annotation in objects}
    best_iou, best_class_iou = _best_ious(objects, predictions)
    per_image = np.unique([annotation["image_id"] for annotation in objects], return_counts=True)[1]
    found = Diagnosis(
        images=len(image_ids),
        truths=len(objects),
        crowd_regions=len(truth["annotations"]) - len(objects),
        predictions=len(predictions),
        predicted_images=len(predicted_images),
        matching_images=len(predicted_images & image_ids),
        predicted_classes=_names(predicted, names),
        truth_classes=_names(present, names),
        matching_classes=_names(predicted & present, names),
        top_score=max((prediction["score"] for prediction in predictions), default=None),
        best_iou=best_iou,
        best_class_iou=best_class_iou,
        most_truths_per_image=int(per_image.max(initial=0)),
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


def _best_ious(objects: list[dict], predictions: list[dict]) -> tuple[float, float]:
    """The largest IoU between a prediction and an object of its image, of any class and of the same class."""
    by_image: dict[int, list[dict]] = {}
    for annotation in objects:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    found_by_image: dict[int, list[dict]] = {}
    for prediction in predictions:
        found_by_image.setdefault(prediction["image_id"], []).append(prediction)
    best, best_of_class = 0.0, 0.0
    for image_id in by_image.keys() & found_by_image.keys():
        objects_here, found_here = by_image[image_id], found_by_image[image_id]
        overlaps = pairwise_iou(_corners(objects_here), _corners(found_here))
        same_class = _categories(objects_here)[:, None] == _categories(found_here)[None]
        best = max(best, float(overlaps.max()))
        best_of_class = max(best_of_class, float((overlaps * same_class).max()))
    return best, best_of_class


def _corners(entries: list[dict]) -> torch.Tensor:
    return xywh_to_xyxy(torch.tensor([entry["bbox"] for entry in entries], dtype=torch.float64))


def _categories(entries: list[dict]) -> torch.Tensor:
    return torch.tensor([entry["category_id"] for entry in entries])


def _names(category_ids: set[int], names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(name for category_id, name in names.items() if category_id in category_ids)


def _listed(names: tuple[str, ...]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
