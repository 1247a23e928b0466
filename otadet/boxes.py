"""IoU, GIoU, CIoU and box codecs on xyxy boxes in pixels.

Boxes of zero or negative size have area 0, and a union of 0 gives an IoU of 0: nothing returns NaN for finite boxes.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Coordinates = TypeVar("Coordinates", Tensor, np.ndarray)


def area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...) square pixels, 0 for a box whose corners are crossed."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def _intersection_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    width = (torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    height = (torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])).clamp(min=0)
    intersection = width * height
    return intersection, area(a) + area(b) - intersection


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part / whole.clamp(min=torch.finfo(whole.dtype).tiny)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes that broadcast against each other: (..., 4), (..., 4) -> (...) in 0-1."""
    return _ratio(*_intersection_union(a, b))


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of boxes that broadcast: (..., 4), (..., 4) -> (...) in (-1, 1] (Rezatofighi et al., 2019)."""
    intersection, union = _intersection_union(a, b)
    width = torch.maximum(a[..., 2], b[..., 2]) - torch.minimum(a[..., 0], b[..., 0])
    height = torch.maximum(a[..., 3], b[..., 3]) - torch.minimum(a[..., 1], b[..., 1])
    hull = width.clamp(min=0) * height.clamp(min=0)
    return _ratio(intersection, union) - _ratio(hull - union, hull)


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of boxes that broadcast: (..., 4), (..., 4) -> (...), up to 1 (Zheng et al., 2020).

    The IoU, less the squared distance of the centres over the squared diagonal of the hull, less a penalty for another
    aspect ratio.
    """
    ious = iou(a, b)
    aspect = (4 / math.pi**2) * (_diagonal_angle(a) - _diagonal_angle(b)).square()
    aspect = aspect * _ratio(aspect, 1 - ious + aspect)
    return ious - _ratio(_squared_distance(a, b), _squared_hull(a, b)) - aspect


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Of the centres, along x and y by themselves: a sum over a last dimension of two is slow."""
    right, down = (a[..., low] + a[..., low + 2] - b[..., low] - b[..., low + 2] for low in (0, 1))
    return (right * right + down * down) / 4


def _squared_hull(a: Tensor, b: Tensor) -> Tensor:
    """The squared diagonal of the smallest box around both."""
    width, height = (
        torch.maximum(a[..., low + 2], b[..., low + 2]) - torch.minimum(a[..., low], b[..., low]) for low in (0, 1)
    )
    return width * width + height * height


def _diagonal_angle(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...) `arctan(width / height)`; 0 for a box of no size."""
    width, height = ((boxes[..., low + 2] - boxes[..., low]).clamp(min=0) for low in (0, 1))
    return torch.atan2(width, height)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """(..., G, 4), (..., A, 4) -> (..., G, A) IoU."""
    return iou(a.unsqueeze(-2), b.unsqueeze(-3))


def centers(boxes: Tensor) -> Tensor:
    """(..., 4) -> (..., 2) x, y."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def distances_to_boxes(points: Tensor, distances: Tensor) -> Tensor:
    """The FCOS codec: points (..., 2) and left, top, right, bottom distances (..., 4), in pixels -> boxes (..., 4)."""
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), dim=-1)


def boxes_to_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Inverse of `distances_to_boxes`; negative where the point lies outside the box."""
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1)


def xywh_to_xyxy(boxes: Coordinates) -> Coordinates:
    """(..., 4) left, top, width, height -> (..., 4) xyxy, of tensors and of arrays alike."""
    return _joined(boxes[..., :2], boxes[..., :2] + boxes[..., 2:])


def xyxy_to_xywh(boxes: Coordinates) -> Coordinates:
    """Inverse of `xywh_to_xyxy`."""
    return _joined(boxes[..., :2], boxes[..., 2:] - boxes[..., :2])


def _joined(first: Coordinates, second: Coordinates) -> Coordinates:
    if isinstance(first, Tensor):
        return torch.cat((first, second), dim=-1)
    return np.concatenate((first, second), axis=-1)


MAX_LOG_SCALE = math.log(1000 / 16)
"""Largest logarithm of the ratio of a box's side to its anchor's that is decoded (Detectron's)."""


def deltas_to_boxes(anchors: Tensor, deltas: Tensor) -> Tensor:
    """The R-CNN codec: anchor boxes (..., 4) and dx, dy, dw, dh (..., 4) -> boxes (..., 4) in pixels.

    dx and dy are offsets of the centre in sides of the anchor, dw and dh logarithms of the ratio of the sides.
    """
    size = anchors[..., 2:] - anchors[..., :2]
    center = centers(anchors) + deltas[..., :2] * size
    reach = size * deltas[..., 2:].clamp(max=MAX_LOG_SCALE).exp() / 2
    return torch.cat((center - reach, center + reach), dim=-1)


def clip(boxes: Tensor, height: float, width: float) -> Tensor:
    """(..., 4) -> (..., 4), limited to an image of `height` x `width` pixels."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)), dim=-1)
