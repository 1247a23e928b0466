"""What the numbers of a data set say about how to train on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from otadet.data.check.crowding import NMS_IOUS
from otadet.data.check.finding import percent
from otadet.data.check.statistics import Resize, Statistics, resize_factors, share_below, shortest_edge_for
from otadet.data.transforms.geometry import ResizeShortestEdge

SMALLEST, FEW = 8.0, 0.05
"""Of the boxes at most that share (0-1) should be smaller than that many pixels of the network's input."""
LARGEST_EDGE, LARGEST_FACTOR = 1333, 2.0
"""Pixels of the shortest edge, and enlargement of the pictures, that small boxes are not worth exceeding."""
_USUAL_EDGE, _LONG_SIDE, _STEP = 800, 5 / 3, 32
_CROWDED = 0.1
"""0-1: boxes that overlap another by an IoU above 0.3, from which on a data set is crowded."""
_LOST = 0.01
"""0-1: boxes that NMS may remove from perfect detections, from which on its threshold is raised."""
_RARE = 0.1
"""0-1: of the images of the most frequent class, below which a class is rare."""


@dataclass(frozen=True)
class Advice:
    """One suggestion."""

    settings: tuple[tuple[str, str], ...]
    """Fields of the experiment and their values, as on a command line; none where there is nothing to set."""
    why: str
    """In words, with the number that it follows from."""


def input_edge(found: Statistics) -> int:
    """The shortest edge to train at, in pixels: that of the pictures up to 800, or larger where boxes are small.

    0 where no size is known.
    """
    known = found.image_sizes[(found.image_sizes > 0).all(axis=1)]
    if not len(known):
        return 0
    native = float(np.median(known.min(axis=1)))
    needed = shortest_edge_for(found, SMALLEST, FEW)
    edge = max(min(native, _USUAL_EDGE), min(needed, LARGEST_FACTOR * native, LARGEST_EDGE))
    return max(_STEP, math.ceil(edge / _STEP) * _STEP)


def input_resize(found: Statistics) -> ResizeShortestEdge | None:
    """`input_edge` with room for long pictures; None where no size is known."""
    edge = input_edge(found)
    return ResizeShortestEdge((edge,), round(edge * _LONG_SIDE)) if edge else None


def nms_iou(found: Statistics, default: float = 0.6) -> float:
    """The smallest threshold of NMS, at least `default`, that can lose no more than 1 % of the boxes."""
    allowed = _LOST * found.crowding.boxes
    loses = [threshold for threshold, lost in zip(NMS_IOUS, found.crowding.lost_to_nms, strict=True) if lost > allowed]
    if not loses or loses[-1] < default:
        return default
    return next((threshold for threshold in NMS_IOUS if threshold > loses[-1]), max(default, NMS_IOUS[-1]))


def max_detections(found: Statistics, default: int = 100) -> int:
    """Half as many again as the most boxes of an image, in hundreds, where these are more than `default`."""
    most = int(found.boxes_per_image.max(initial=0))
    return default if most <= default else math.ceil(1.5 * most / 100) * 100


def repeat_threshold(found: Statistics) -> float:
    """LVIS's threshold of repeat factors, a share of the images, that repeats rare classes; 0 where none is rare.

    A class that fewer than a tenth as many images have as the most frequent one is rare; the threshold is that tenth.
    """
    images = found.images_per_class[found.images_per_class > 0]
    if len(images) < 2 or images.min() >= _RARE * images.max():
        return 0.0
    return float(f"{_RARE * images.max() / found.images:.2g}")


def advice(found: Statistics, resize: Resize) -> list[Advice]:
    """In words, for the training split. resize: to the size that is trained at unless it is changed."""
    if not found.boxes:
        return []
    made = [_size(found, resize), *_crowd(found), *_many(found)]
    if threshold := repeat_threshold(found):
        rarest = int(np.where(found.images_per_class > 0, found.images_per_class, found.images + 1).argmin())
        images = int(found.images_per_class[rarest])
        made.append(
            Advice(
                (("sampling", "repeat_factor"), ("sampling.threshold", f"{threshold:g}")),
                f"{found.class_names[rarest]} is in {images:,} of {found.images:,} images and the most frequent class "
                f"in {found.images_per_class.max():,}: show images of rare classes more often",
            )
        )
    return made


def _size(found: Statistics, resize: Resize) -> Advice:
    share = share_below(found.box_sizes_at(resize), SMALLEST)
    said = f"{percent(share)} of the boxes are below {SMALLEST:g} px at the size that you train at"
    better = input_resize(found)
    if better is None:
        return Advice((), "no image has a known size")
    small = share_below(found.box_sizes_at(better), SMALLEST)
    edge, most = better.sizes[0], better.max_size
    settings = (("input.resize", f"{edge}/{most}"),)
    if share > FEW and small < share:
        rest = "" if small <= FEW else "; for the others, train on tiles of the pictures"
        return Advice(settings, f"{said}; with the shortest edge at {edge} px it is {percent(small)}{rest}")
    factor, smaller = (float(np.nanmedian(resize_factors(found.image_sizes, one))) for one in (resize, better))
    if share <= FEW and factor > 1.5 * smaller and small <= FEW:
        return Advice(
            settings,
            f"{said}, which enlarges the pictures {factor:.1f} times; at {edge} px it is {percent(small)}, with "
            f"{(factor / smaller) ** 2:.1f} times fewer pixels to compute",
        )
    return Advice((), f"{said}: the size fits" if share <= FEW else f"{said}, and the pictures have no more pixels")


def _crowd(found: Statistics) -> list[Advice]:
    crowd = found.crowding
    share = crowd.shares()[1]
    if share < _CROWDED:
        return [Advice((), f"{percent(share)} of the boxes overlap another with an IoU above 0.3: it is not crowded")]
    made = [
        Advice(
            (("assigner", "ota"),),
            f"{percent(share)} of the boxes overlap another with an IoU above 0.3: it is crowded, and OTA decides "
            "anchors between several boxes best",
        )
    ]
    threshold = nms_iou(found)
    lost = crowd.lost_to_nms[NMS_IOUS.index(0.6)] / max(crowd.boxes, 1)
    if threshold > 0.6:
        made.append(
            Advice(
                (("postprocess.nms_iou", f"{threshold:g}"),),
                f"NMS at 0.6 can remove {percent(lost)} of the boxes from perfect detections, as their neighbours of "
                "the same class overlap them more",
            )
        )
    return made


def _many(found: Statistics) -> list[Advice]:
    most = int(found.boxes_per_image.max())
    room = max_detections(found)
    if room <= 100:
        return []
    return [
        Advice(
            (("postprocess.max_detections", str(room)),),
            f"an image has {most:,} boxes, more than the 100 that are kept",
        )
    ]
