"""COCO's evaluation, through pycocotools or what gives the same numbers faster."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from otadet.boxes import xywh_to_xyxy, xyxy_to_xywh
from otadet.data.dataset import DetectionDataset
from otadet.errors import UserError
from otadet.evaluation.compared import check_labels, compare, rounded_boxes, rounded_scores
from otadet.evaluation.diagnosis import diagnose
from otadet.evaluation.judge import AUTO, Judge, find_judge
from otadet.evaluation.result import NO_TRUTH, ClassResult, Result
from otadet.structures import Detections

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve numbers in pycocotools' order: precision over IoU 0.50-0.95, at 0.50, at 0.75, of small, medium and
large objects; recall with 1, 10 and 100 detections per image, of small, medium and large objects."""


def readable(
    dataset: DetectionDataset, detections: Mapping[int, Detections], unreadable: Mapping[int, str]
) -> set[int]:
    """Ids of the images that an evaluation counts: those that could be read, if any had to be left out.

    detections: of `predict_dataset`, by all processes. unreadable: index -> what is wrong. Raises `UserError` where
    nothing is left to evaluate.
    """
    if not detections and unreadable:
        raise UserError(
            f"{dataset.source}: none of its {len(dataset)} images can be read; is their folder still there? "
            f"The first: {next(iter(unreadable.values()))}"
        )
    return set(detections)


def coco_predictions(detections: Mapping[int, Detections], category_ids: Sequence[int]) -> list[dict]:
    """COCO's result format: a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}.

    Boxes are rounded to 0.001 pixels and scores to six digits, so that the file stays small; what is evaluated is
    rounded alike. category_ids: the category id of each label. Raises `UserError` for a label that has none.
    """
    results: list[dict] = []
    for image_id, found in detections.items():
        check_labels(image_id, found, len(category_ids))
        boxes, scores = rounded_boxes(found).tolist(), rounded_scores(found).tolist()
        results.extend(
            {"image_id": int(image_id), "category_id": int(category_ids[label]), "bbox": box, "score": score}
            for box, score, label in zip(boxes, scores, found.labels.tolist(), strict=True)
        )
    return results


def coco_dict(dataset: DetectionDataset) -> dict[str, Any]:
    """What `pycocotools.coco.COCO.dataset` holds after reading a complete file of these images.

    Boxes are as in the data set's file, not clipped, so that results compare with everybody else's; ignored regions are
    crowds; degenerate boxes, which nothing can match, are left out. Missing areas become width x height. Annotations
    are numbered from 1, because COCOeval takes the id 0 for "unmatched".
    """
    table, rows = dataset.annotations, np.flatnonzero(dataset.valid)
    boxes = _as_written(table.boxes[rows])
    with np.errstate(over="ignore"):
        whole = np.nan_to_num(boxes[:, 2:].prod(axis=1))
    columns = (
        table.image_ids[table.image_rows[rows]],
        np.array(dataset.source_ids)[dataset.labels[rows]],
        boxes,
        np.where(np.isnan(table.areas[rows]), whole, table.areas[rows]),
        table.ignored[rows].astype(int),
    )
    annotations = [
        {"id": number, "image_id": image_id, "category_id": category, "bbox": box, "area": area, "iscrowd": is_crowd}
        for number, (image_id, category, box, area, is_crowd) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), start=1
        )
    ]
    images = [
        {"id": image_id, "file_name": name, "height": height, "width": width}
        for image_id, name, (height, width) in zip(
            table.image_ids.tolist(), table.file_names, dataset.sizes.tolist(), strict=True
        )
    ]
    ids_and_names = zip(dataset.source_ids, dataset.class_names, strict=True)
    categories = [{"id": category_id, "name": name} for category_id, name in ids_and_names]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def _as_written(corners: np.ndarray) -> np.ndarray:
    """(M, 4) xyxy -> x, y, width, height; of sides with up to nine decimals without the rounding of the corners."""
    boxes = xyxy_to_xywh(corners)
    with np.errstate(over="ignore", invalid="ignore"):
        short = np.concatenate((boxes[:, :2], boxes[:, 2:].round(9)), axis=1)
        return np.where(xywh_to_xyxy(short) == corners, short, boxes)


def evaluate_coco(
    dataset: DetectionDataset,
    detections: Mapping[int, Detections],
    image_ids: Collection[int] | None = None,
    *,
    judge: str = AUTO,
) -> Result:
    """Compare detections, image id -> `Detections` in original pixels, with the ground truth of `dataset`.

    Images without an entry count as images without detections. image_ids: of the images that count; None: all. judge:
    as in `find_judge`. Raises `UserError` for a label that the data set does not have.
    """
    program = find_judge(judge)
    truth = coco_dict(dataset)
    if image_ids is not None:
        counted = set(image_ids)
        truth["images"] = [image for image in truth["images"] if image["id"] in counted]
        truth["annotations"] = [entry for entry in truth["annotations"] if entry["image_id"] in counted]
    predictions = coco_predictions(detections, dataset.source_ids)
    evaluation = _run(program, truth, predictions, dataset.source_ids)
    stats = {name: float(value) for name, value in zip(STATS, evaluation.stats[: len(STATS)], strict=True)}
    names = dict(zip(dataset.source_ids, dataset.class_names, strict=True))
    diagnosis = diagnose(compare(dataset, detections, image_ids), stats["AP"])
    return Result("coco", str(program), stats, _per_class(evaluation, truth, predictions, names), diagnosis)


def _run(judge: Judge, truth: dict, predictions: list[dict], category_ids: Sequence[int]) -> Any:
    """An evaluated `COCOeval`, quietly."""
    # Not COCO.loadRes: it fails when there is no prediction at all, and when one is for an unknown image.
    results = [
        {**prediction, "id": number, "area": prediction["bbox"][2] * prediction["bbox"][3], "iscrowd": 0}
        for number, prediction in enumerate(predictions, start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        sides = (_indexed(judge.data(), truth), _indexed(judge.data(), {**truth, "annotations": results}))
        evaluation = judge.evaluation(*sides, "bbox")
        # In the order of the labels, which the per-class numbers then have too.
        evaluation.params.catIds = list(category_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _indexed(coco: Any, dataset: dict) -> Any:
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _per_class(evaluation: Any, truth: dict, predictions: list[dict], names: Mapping[int, str]) -> list[ClassResult]:
    # (IoU thresholds, recalls, C) and (IoU thresholds, C): over all areas, with the most detections per image.
    precision = evaluation.eval["precision"][..., 0, -1]
    recall = evaluation.eval["recall"][..., 0, -1]
    thresholds = evaluation.params.iouThrs
    truths = Counter(annotation["category_id"] for annotation in truth["annotations"] if not annotation["iscrowd"])
    predicted = Counter(prediction["category_id"] for prediction in predictions)
    return [
        ClassResult(
            name,
            {
                "AP": _mean(precision[:, :, column]),
                "AP50": _mean(precision[np.isclose(thresholds, 0.5), :, column]),
                "AP75": _mean(precision[np.isclose(thresholds, 0.75), :, column]),
                "AR100": _mean(recall[:, column]),
            },
            truths=truths[category_id],
            predictions=predicted[category_id],
        )
        for column, (category_id, name) in enumerate(names.items())
    ]


def _mean(values: np.ndarray) -> float:
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else NO_TRUTH
