"""What a transform or a data set returned, checked: people write their own, and wrong pixels would train as well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from otadet.data.sample import Sample
from otadet.errors import UserError


def checked(maker: Any, sample: Any) -> Sample:
    """The sample that a transform or a data set, `maker`, returned, boxes as float32 and labels as int64.

    Raises `UserError`, which names it and the image, for pixels that are not (H, W, 3) uint8, and for boxes
    or labels that are none.
    """
    if not isinstance(sample, Sample):
        raise UserError(f"{name_of(maker)}: returned a {type(sample).__name__}; needed is a Sample")
    where = f"{name_of(maker)}, at {sample.file_name}"
    image = sample.image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} of shape {tuple(image.shape)}" if hasattr(image, "dtype") else type(image).__name__
        raise UserError(f"{where}: returned an image {found}; needed is a uint8 array (height, width, 3) in RGB")
    if not image.size:
        raise UserError(f"{where}: returned an image without pixels")
    boxes, ignored = _boxes(where, "boxes", sample.boxes), _boxes(where, "ignored regions", sample.ignored)
    labels = _labels(where, sample.labels)
    if len(boxes) != len(labels):
        raise UserError(f"{where}: returned {len(boxes)} boxes, but {len(labels)} labels; change both alike")
    if boxes is sample.boxes and labels is sample.labels and ignored is sample.ignored:
        return sample
    return replace(sample, boxes=boxes, labels=labels, ignored=ignored)


def name_of(transform: Any) -> str:
    """For messages."""
    return getattr(transform, "__name__", type(transform).__name__)


def _boxes(where: str, what: str, values: Any) -> np.ndarray:
    """(G, 4) float32 xyxy."""
    try:
        boxes = np.asarray(values).astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: returned {what} that are no numbers: {error}") from error
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        if boxes.size or not boxes.ndim:
            raise UserError(f"{where}: returned {what} of shape {boxes.shape}; needed is (G, 4), x1 y1 x2 y2 in pixels")
        boxes = boxes.reshape(0, 4)
    if len(boxes) and not (np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all()):
        right = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
        shown = ", ".join(f"{value:g}" for value in boxes[~right][0].tolist())
        raise UserError(f"{where}: returned {what} with corners {shown}; needed is x1 <= x2 and y1 <= y2, in pixels")
    return boxes


def _labels(where: str, values: Any) -> np.ndarray:
    """(G,) int64."""
    labels = np.asarray(values)
    if labels.ndim == 1 and (labels.dtype.kind in "iu" or not labels.size):
        labels = labels.astype(np.int64, copy=False)
        if not (labels < 0).any():
            return labels
    raise UserError(f"{where}: returned labels {str(values)[:80]}; needed are whole numbers from 0, one per box")
