"""From the tensors of another program to an experiment whose detector they are, for each program."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from otadet.apps.draft import Draft, Drafter, Wish, coco_or_given, experiment, sized

if TYPE_CHECKING:
    from torch import Tensor

    from otadet.convert import detectron2, yolox
    from otadet.convert.pyramid import PyramidLayout
    from otadet.exp import BaseExp, InputSpec

SMALL = 416
"""Side of the input that YOLOX's nano and tiny were trained with, in pixels."""
USUAL = 640
"""That of all larger ones."""
SHORT, LONG = 800, 1333
"""Shorter side of the input of torchvision and Detectron2, and the most that the longer one has, in pixels."""


def yolox_draft(state: dict[str, Tensor], path: object, wish: Wish, name: str) -> Draft:
    """Of YOLOX, whoever named the tensors."""
    from otadet.convert.yolox import for_rgb, layout_of

    layout = layout_of(state, path)
    names = coco_or_given(wish.class_names, layout.num_classes, path)
    return Draft(yolox_experiment(layout, wish.size, name), state, names, for_rgb)


def yolox_experiment(layout: yolox.Layout, size: int | None, name: str) -> BaseExp:
    """The experiment whose detector the network is, with the preprocessing that it was trained with.

    size: of the input, in pixels; None: as published. Raises `UserError` for one that cannot be, or no such network.
    """
    from otadet.assigners import SimOTAAssigner
    from otadet.exp import YOLOX, BCEIoU, YOLOXExp, yolox_input

    return experiment(
        name,
        model=YOLOX(layout.depth, layout.width, layout.depthwise),
        input=sized(yolox_input, size, SMALL if layout.width < 0.5 else USUAL),
        postprocess=YOLOXExp.postprocess,
        assigner=SimOTAAssigner.yolox(),
        loss=BCEIoU(),
    )


def torchvision_draft(state: dict[str, Tensor], path: object, wish: Wish, name: str) -> Draft:
    """Of torchvision's FCOS and RetinaNet, with its own settings."""
    from otadet.convert.torchvision import NORM_EPS, is_fcos, layout_of, rows_of, with_eps, with_rows

    layout = layout_of(state, path)
    rows = rows_of(layout.num_classes, wish.class_names, path)
    eps = NORM_EPS if wish.norm_eps is None else wish.norm_eps
    notes = [rows.note] if rows.note else []
    if eps != NORM_EPS:
        notes.append(f"its batch norms have an eps of {eps:g}, which their weights make up for")
    if not is_fcos(state):
        notes.append("no tensor says the anchor boxes: they are torchvision's own, 3 scales of 3 aspect ratios")
    exp = torchvision_experiment(layout, is_fcos(state), wish.size, name)
    state = with_rows(state, rows.kept, layout.num_classes)
    return Draft(exp, state, rows.names, partial(with_eps, eps=eps), tuple(notes))


def torchvision_experiment(layout: PyramidLayout, is_fcos: bool, size: int | None, name: str) -> BaseExp:
    """The experiment whose detector the network is, with torchvision's own input and postprocessing.

    size: of the shorter side of the input, in pixels; None: as published. Raises `UserError` for one that cannot be, or
    no such network.
    """
    from otadet.assigners import FCOSAssigner, MaxIoUAssigner
    from otadet.convert.pyramid import RATIOS, SCALES
    from otadet.data.transforms import ResizeShortestEdge
    from otadet.exp import FCOS, FocalGIoU, InputSpec, Postprocess, RetinaNet

    def input_of(short: int) -> InputSpec:
        return InputSpec(ResizeShortestEdge((short,), round(short * LONG / SHORT), shrink="linear", rounding="down"))

    common = _pyramid_settings(layout)
    common["whole_pixels"] = True
    if is_fcos:
        return experiment(
            name,
            model=FCOS(quality="centerness", level_scales=False, **common),
            input=sized(input_of, size, SHORT),
            postprocess=Postprocess(0.2, nms_iou=0.6, max_detections=100, clip=True),
            assigner=FCOSAssigner(),
            loss=FocalGIoU(),
        )
    return experiment(
        name,
        model=RetinaNet(quality=None, anchor_scales=SCALES, aspect_ratios=RATIOS, **common),
        input=sized(input_of, size, SHORT),
        postprocess=Postprocess(0.05, nms_iou=0.5, max_detections=300, clip=True),
        assigner=MaxIoUAssigner(),
        loss=FocalGIoU(),
    )


def detectron2_draft(state: dict[str, Tensor], path: object, wish: Wish, name: str) -> Draft:
    """Of Detectron2's RetinaNet and of the released OTA, with their own settings."""
    from otadet.convert.detectron2 import as_ours, layout_of, weights_among

    layout = layout_of(state, path)
    names = coco_or_given(wish.class_names, layout.num_classes, path)
    family = "the released OTA" if layout.is_ota else "RetinaNet"
    order, strides = "BGR" if layout.is_bgr else "RGB", "1x1" if layout.stride_in_1x1 else "3x3"
    source = "as its pixel_mean and pixel_std say" if layout.is_said else "as published, since no tensor says it"
    note = f"{family}: made for {order} pixels, with strides in the {strides} convolutions, {source}; it takes RGB now"
    exp = detectron2_experiment(layout, wish.size, name)
    return Draft(exp, weights_among(state), names, partial(as_ours, layout=layout), (note,))


def detectron2_experiment(layout: detectron2.Layout, size: int | None, name: str) -> BaseExp:
    """The experiment whose detector the network is, with the input and the postprocessing that were published.

    size: of the shorter side of the input, in pixels; None: as published. Raises `UserError` for one that cannot be, or
    no such network.
    """
    from otadet.assigners import MaxIoUAssigner, OTAAssigner
    from otadet.convert.pyramid import RATIOS, SCALES
    from otadet.data.transforms import ResizeShortestEdge
    from otadet.exp import FCOS, FocalGIoU, InputSpec, Postprocess, RetinaNet

    def input_of(short: int) -> InputSpec:
        return InputSpec(ResizeShortestEdge((short,), round(short * LONG / SHORT)), layout.mean, layout.std)

    common = _pyramid_settings(layout, layout.stride_in_1x1)
    if layout.is_ota:
        return experiment(
            name,
            model=FCOS(quality="iou", **common),
            input=sized(input_of, size, SHORT),
            postprocess=Postprocess(0.05, nms_iou=0.6, max_detections=100),
            assigner=OTAAssigner(),
            loss=FocalGIoU(),
        )
    return experiment(
        name,
        model=RetinaNet(quality=None, anchor_scales=SCALES, aspect_ratios=RATIOS, **common),
        input=sized(input_of, size, SHORT),
        postprocess=Postprocess(0.05, nms_iou=0.5, max_detections=100),
        assigner=MaxIoUAssigner(),
        loss=FocalGIoU(),
    )


def _pyramid_settings(layout: PyramidLayout, stride_in_1x1: bool = False) -> dict[str, Any]:
    """Fields of the `DenseFamily`. Raises `UserError` where there is no such network."""
    from otadet.exp import ResNet

    depth: Any = layout.depth
    return {
        "backbone": ResNet(
            depth,
            layout.width,
            weights=None,
            groups=layout.groups,
            width_per_group=layout.width_per_group,
            stride_in_1x1=stride_in_1x1,
        ),
        "channels": layout.channels,
        "coarse_from": layout.coarse_from,
        "tower_depth": layout.tower_depth,
        "tower_norm": "group" if layout.tower_norm else "none",
        "tower_bias": layout.tower_bias,
    }


DRAFTERS: Mapping[str, Drafter] = {
    "yolox": yolox_draft,
    "mmdet-yolox": yolox_draft,
    "torchvision": torchvision_draft,
    "detectron2": detectron2_draft,
}
"""By the word for `--from`."""
