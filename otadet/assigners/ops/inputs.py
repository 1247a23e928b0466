"""What an assigner or a loss is given: contradictions are refused, unusable numbers are replaced.

Shapes, types and devices are checked everywhere. Values are checked on a CPU, where they can be read for free; on an
accelerator objects that a check would have refused are nobody's, so that the host does not wait for the device. What
the network predicts may be anything: NaN counts as 0, and what is beyond all bounds as the bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from otadet.structures import Anchors, GroundTruth, Predictions

MAX_COORDINATE = 1e9
"""Pixels from the origin to which boxes are limited: their areas and the squares of those stay finite."""

MAX_LOGIT = 1e4
"""Logits are limited to this, either way: costs stay finite."""

MAX_COST = 1e9
"""The cost of an anchor as background is limited to this."""


def on_host(tensor: Tensor) -> bool:
    """True on a CPU, where values can be read for free.

    On an accelerator reading them forces a host-device sync, so shapes must stay independent of values.
    """
    return tensor.device.type == "cpu"


def check_batch(predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> None:
    """Raise `ValueError`, saying what is wrong, where shapes, types or devices contradict each other or `structures`.

    On a CPU also for anchors and ignored regions that are not finite, and for strides that are not above 0. No image,
    no anchor and no box is no mistake.
    """
    _check_predictions(predictions)
    num_images, num_anchors, _ = predictions.logits.shape
    _check_anchors(anchors, num_anchors)
    if len(truths) != num_images:
        raise ValueError(f"{num_images} images of predictions, but {len(truths)} of ground truth")
    for image, truth in enumerate(truths):
        _check_truth(truth, image)
    _check_devices(predictions, anchors, truths)
    if on_host(predictions.boxes):
        _check_regions(truths)
        if num_anchors:
            _check_anchor_values(anchors)


def check_objects(boxes: Tensor, labels: Tensor, num_classes: int, truths: Sequence[GroundTruth]) -> None:
    """Raise `ValueError` for true boxes that are not finite and labels outside of the classes; on a CPU alone.

    Args:
        boxes: (M, 4) those of all `truths`.
        labels: (M,) theirs.
        num_classes: C.
        truths: of which image and row the error tells.
    """
    if not on_host(labels) or not len(labels):
        return
    lowest, highest = labels.aminmax()
    if lowest >= 0 and highest < num_classes and _is_finite(boxes):
        return
    for image, truth in enumerate(truths):
        for row, label in enumerate(truth.labels.tolist()):
            if not 0 <= label < num_classes:
                raise ValueError(
                    f"truths[{image}].labels[{row}] is the label {label}: the predictions have {num_classes} classes, "
                    f"0 to {num_classes - 1}"
                )
        for row, box in enumerate(truth.boxes.tolist()):
            if not all(math.isfinite(value) for value in box):
                raise ValueError(f"truths[{image}].boxes[{row}] is {box}, which is not finite")


def are_valid(boxes: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(..., 4), (...) -> (...) bool: whether `check_objects` finds nothing to say against the object."""
    return boxes.isfinite().all(-1) & (labels >= 0) & (labels < num_classes)


def limited(boxes: Tensor) -> Tensor:
    """The boxes with 0 in place of NaN, at most `MAX_COORDINATE` from the origin."""
    return boxes.nan_to_num(0.0).clamp(-MAX_COORDINATE, MAX_COORDINATE)


def limit_(values: Tensor, most: float) -> Tensor:
    """In place: NaN becomes 0, and nothing is farther from 0 than `most`."""
    return values.nan_to_num_(0.0, most, -most).clamp_(-most, most)


def _check_predictions(predictions: Predictions) -> None:
    logits, boxes, quality = predictions.logits, predictions.boxes, predictions.quality
    if logits.ndim != 3:
        raise ValueError(f"logits are of shape {tuple(logits.shape)}, not (images, anchors, classes)")
    if logits.shape[2] == 0:
        raise ValueError(f"logits are of shape {tuple(logits.shape)}: there is no class")
    expected = {"boxes": (boxes, (*logits.shape[:2], 4)), "quality": (quality, tuple(logits.shape[:2]))}
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} are of shape {tuple(tensor.shape)}, not {shape} as the logits are {tuple(logits.shape)}"
            )
    for name, tensor in (("logits", logits), ("boxes", boxes), ("quality", quality)):
        if tensor is not None and not tensor.is_floating_point():
            raise ValueError(f"{name} are {tensor.dtype}, not floating point")


def _check_anchors(anchors: Anchors, num_anchors: int) -> None:
    if len(anchors.points) != num_anchors:
        raise ValueError(f"{num_anchors} predictions per image, but {len(anchors.points)} anchors")
    expected = {"points": (anchors.points, (2,)), "boxes": (anchors.boxes, (4,)), "strides": (anchors.strides, ())}
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != (num_anchors, *shape) or tensor.is_complex() or tensor.dtype == torch.bool:
            raise ValueError(
                f"anchors.{name} are {tensor.dtype} of shape {tuple(tensor.shape)}, not numbers of shape "
                f"{(num_anchors, *shape)}"
            )
    for size in anchors.level_sizes:
        if len(size) != 2 or any(not isinstance(side, int) or side < 1 for side in size):
            raise ValueError(f"level_sizes {anchors.level_sizes}: each is a height and a width of at least 1 point")
    if type(anchors.per_location) is not int or anchors.per_location < 1:
        raise ValueError(f"per_location {anchors.per_location!r}: a point has at least 1 anchor")
    covered = sum(anchors.level_counts)
    if covered != num_anchors:
        shapes = f" with {anchors.per_location} anchors per location" if anchors.per_location > 1 else ""
        raise ValueError(
            f"level_sizes {anchors.level_sizes}{shapes} make {covered} anchors, but there are {num_anchors}"
        )
    _check_spacing(anchors)


def _check_spacing(anchors: Anchors) -> None:
    if anchors.spacing is None:
        return
    if len(anchors.spacing) != len(anchors.level_sizes) or any(
        len(pixels) != 2 or min(pixels) <= 0 for pixels in anchors.spacing
    ):
        raise ValueError(f"spacing {anchors.spacing}: is two distances above 0 for each of the levels, or None")


def _check_truth(truth: GroundTruth, image: int) -> None:
    boxes, labels = truth.boxes, truth.labels
    _check_boxes(boxes, f"truths[{image}].boxes", "(boxes, 4)")
    if labels.shape != boxes.shape[:1]:
        raise ValueError(f"truths[{image}] has {len(boxes)} boxes, but labels of shape {tuple(labels.shape)}")
    if labels.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise ValueError(f"truths[{image}].labels are {labels.dtype}, not whole numbers")
    if truth.ignored is not None:
        _check_boxes(truth.ignored, f"truths[{image}].ignored", "(regions, 4)")


def _check_boxes(boxes: Tensor, name: str, expected: str) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.is_complex() or boxes.dtype == torch.bool:
        raise ValueError(f"{name} are {boxes.dtype} of shape {tuple(boxes.shape)}, not numbers of shape {expected}")


def _check_regions(truths: Sequence[GroundTruth]) -> None:
    for image, truth in enumerate(truths):
        if truth.ignored is None or not truth.ignored.numel() or _is_finite(truth.ignored):
            continue
        row = int((~truth.ignored.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"truths[{image}].ignored[{row}] is {truth.ignored[row].tolist()}, which is not finite")


def _check_devices(predictions: Predictions, anchors: Anchors, truths: Sequence[GroundTruth]) -> None:
    device = predictions.boxes.device
    places = {"the predictions": predictions, "the anchors": anchors}
    for name, part in [*places.items(), *((f"truths[{image}]", truth) for image, truth in enumerate(truths))]:
        for value in vars(part).values():
            if isinstance(value, Tensor) and value.device != device:
                raise ValueError(f"{name} are on {value.device}, but the predicted boxes on {device}")


def _check_anchor_values(anchors: Anchors) -> None:
    for name, tensor in (("points", anchors.points), ("boxes", anchors.boxes), ("strides", anchors.strides)):
        # A sum is the fastest way to see one number that is not finite.
        if not math.isfinite(tensor.sum()):
            raise ValueError(f"anchors.{name} are not all finite, or beyond all bounds")
    least = float(anchors.strides.amin())
    if least <= 0:
        raise ValueError(f"anchors.strides go down to {least}: they must be above 0")


def _is_finite(values: Tensor) -> bool:
    """All of them at once: the extremes of values with a NaN among them are NaN."""
    lowest, highest = (float(value) for value in values.aminmax())
    return math.isfinite(lowest) and math.isfinite(highest)
