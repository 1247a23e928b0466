"""What an evaluation compares, as flat arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from otadet.boxes import xywh_to_xyxy, xyxy_to_xywh
from otadet.data.dataset import DetectionDataset
from otadet.errors import UserError
from otadet.structures import Detections

UNKNOWN = -1
"""In place of an image's row: it is not in the data."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Truths or detections. M: how many there are."""

    image_rows: np.ndarray
    """(M,) int64 row of the image in `Compared.image_ids`, or `UNKNOWN`; sorted."""
    labels: np.ndarray
    """(M,) int64."""
    boxes: np.ndarray
    """(M, 4) float64 xyxy in pixels of the image files."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Truths(Boxes):
    """The ground truth, as in its file: not clipped; without the degenerate boxes, which nothing can match."""

    ignored: np.ndarray
    """(M,) bool: a region in which detections count neither for nor against."""


@dataclass(frozen=True, eq=False)
class Found(Boxes):
    """Detections, by image, those of an image in the order in which they were found."""

    scores: np.ndarray
    """(M,) float64, 0-1."""
    images: int
    """Images, of the data or not, that have some."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Detections beside the ground truth."""

    class_names: tuple[str, ...]
    """(C,) by label."""
    image_ids: np.ndarray
    """(S,) int64 of the images that count, in the order of the data."""
    sizes: np.ndarray
    """(S, 2) int64 height, width in pixels."""
    truths: Truths
    found: Found


def compare(
    dataset: DetectionDataset, detections: Mapping[int, Detections], image_ids: Collection[int] | None = None
) -> Compared:
    """detections: image id -> `Detections` in pixels of the file. image_ids: of the images that count; None: all.

    Boxes and scores of detections are rounded as in `coco_predictions`, so that saved predictions have these numbers.
    Raises `UserError` for a label that the data set does not have.
    """
    table = dataset.annotations
    counts = np.ones(len(dataset), bool) if image_ids is None else np.isin(table.image_ids, list(image_ids))
    new_rows = np.where(counts, np.cumsum(counts) - 1, UNKNOWN)
    kept = np.flatnonzero(dataset.valid & counts[table.image_rows])
    truths = Truths(
        new_rows[table.image_rows[kept]], dataset.labels[kept], table.boxes[kept], ignored=table.ignored[kept]
    )
    rows = {int(image_id): row for row, image_id in enumerate(table.image_ids[counts].tolist())}
    found = _found(detections, rows, len(dataset.class_names))
    return Compared(tuple(dataset.class_names), table.image_ids[counts], dataset.sizes[counts], truths, found)


def _found(detections: Mapping[int, Detections], rows: Mapping[int, int], classes: int) -> Found:
    """rows: image id -> row. classes: how many the data has."""
    ordered = sorted(detections.items(), key=lambda entry: rows.get(entry[0], UNKNOWN))
    for image_id, found in ordered:
        check_labels(image_id, found, classes)
    lengths = [len(found.scores) for _, found in ordered]
    if not sum(lengths):
        nothing = np.zeros(0, np.int64)
        return Found(nothing, nothing, np.zeros((0, 4)), scores=np.zeros(0), images=0)
    return Found(
        np.repeat([rows.get(image_id, UNKNOWN) for image_id, _ in ordered], lengths),
        np.concatenate([found.labels.cpu().numpy() for _, found in ordered]),
        xywh_to_xyxy(np.concatenate([rounded_boxes(found) for _, found in ordered])),
        scores=np.concatenate([rounded_scores(found) for _, found in ordered]),
        images=sum(length > 0 for length in lengths),
    )


def check_labels(image_id: int, found: Detections, classes: int) -> None:
    """Raise `UserError` for a label that is not among the `classes` first."""
    if len(found.labels) and int(found.labels.max()) >= classes:
        raise UserError(
            f"image {image_id}: a prediction has class number {int(found.labels.max())}, but the data set has only "
            f"{classes} classes; evaluate on data with the classes that the model was trained for"
        )


def rounded_boxes(found: Detections) -> np.ndarray:
    """(D, 4) float64 x, y, width, height, to 0.001 pixels."""
    return xyxy_to_xywh(found.boxes.double()).cpu().numpy().round(3)


def rounded_scores(found: Detections) -> np.ndarray:
    """(D,) float64, to six digits."""
    return found.scores.double().cpu().numpy().round(6)
