"""From the tensors of another program to an experiment whose detector they are, for each program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from otadet.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from otadet.convert import torchvision, yolox
    from otadet.exp import BaseExp, InputSpec

SMALL = 416
"""Side of the input that YOLOX's nano and tiny were trained with, in pixels."""
USUAL = 640
"""That of all larger ones."""
SHORT, LONG = 800, 1333
"""Shorter side of torchvision's input, and the most that the longer one has, in pixels."""


@dataclass(frozen=True)
class Wish:
    """What the user says of a file."""

    class_names: tuple[str, ...] | None = None
    """None: what is known of them."""
    size: int | None = None
    """Side of the input in pixels; None: the usual one."""
    norm_eps: float | None = None
    """Of the batch norms; None: the program's own."""


@dataclass(frozen=True)
class Draft:
    """A checkpoint of otadet in the making."""

    exp: BaseExp
    """With the network, its input and its postprocessing."""
    state: dict[str, Tensor]
    """Tensors by otadet's names, some of which the network may have no place for."""
    class_names: tuple[str, ...]
    finish: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    """Makes of those that have a place, in their shapes, otadet's weights."""
    notes: tuple[str, ...] = ()
    """What the user should know, a line each."""


Drafter = Callable[[dict[str, "Tensor"], object, Wish, str], Draft]
"""(tensors by otadet's names, the file, what is wished, name of the experiment) -> the draft. Raises `UserError`."""


def yolox_draft(state: dict[str, Tensor], path: object, wish: Wish, name: str) -> Draft:
    """Of YOLOX, whoever named the tensors."""
    from otadet.convert.yolox import for_rgb, layout_of

    layout = layout_of(state, path)
    names = _coco_or_given(wish.class_names, layout.num_classes, path)
    return Draft(yolox_experiment(layout, wish.size, name), state, names, for_rgb)


def yolox_experiment(layout: yolox.Layout, size: int | None, name: str) -> BaseExp:
    """The experiment whose detector the network is, with the preprocessing that it was trained with.

    size: of the input, in pixels; None: as published. Raises `UserError` for one that cannot be, or no such network.
    """
    from otadet.assigners import SimOTAAssigner
    from otadet.exp import YOLOX, BCEIoU, YOLOXExp, yolox_input

    return _experiment(
        name,
        model=YOLOX(layout.depth, layout.width, layout.depthwise),
        input=_sized(yolox_input, size, SMALL if layout.width < 0.5 else USUAL),
        postprocess=YOLOXExp.postprocess,
        assigner=SimOTAAssigner.yolox(),
        loss=BCEIoU(),
    )


def torchvision_draft(state: dict[str, Tensor], path: object, wish: Wish, name: str) -> Draft:
    """Of torchvision's FCOS and RetinaNet, with its own settings."""
    from otadet.convert.torchvision import NORM_EPS, layout_of, rows_of, with_eps, with_rows

    layout = layout_of(state, path)
    rows = rows_of(layout.num_classes, wish.class_names, path)
    eps = NORM_EPS if wish.norm_eps is None else wish.norm_eps
    notes = [rows.note] if rows.note else []
    if eps != NORM_EPS:
        notes.append(f"its batch norms have an eps of {eps:g}, which their weights make up for")
    if not layout.is_fcos:
        notes.append("no tensor says the anchor boxes: they are torchvision's own, 3 scales of 3 aspect ratios")
    state = with_rows(state, rows.kept, layout.num_classes)
    exp = torchvision_experiment(layout, wish.size, name)
    return Draft(exp, state, rows.names, partial(with_eps, eps=eps), tuple(notes))


def torchvision_experiment(layout: torchvision.Layout, size: int | None, name: str) -> BaseExp:
    """The experiment whose detector the network is, with torchvision's own input and postprocessing.

    size: of the shorter side of the input, in pixels; None: as published. Raises `UserError` for one that cannot be, or
    no such network.
    """
    from otadet.assigners import FCOSAssigner, MaxIoUAssigner
    from otadet.data.transforms import ResizeShortestEdge
    from otadet.exp import FCOS, FocalGIoU, InputSpec, Postprocess, ResNet, RetinaNet

    def input_of(short: int) -> InputSpec:
        return InputSpec(ResizeShortestEdge((short,), round(short * LONG / SHORT), shrink="linear", rounding="down"))

    depth: Any = layout.depth
    backbone = ResNet(depth, weights=None, groups=layout.groups, width_per_group=layout.width_per_group)
    common: dict[str, Any] = {
        "backbone": backbone,
        "channels": layout.channels,
        "tower_depth": layout.tower_depth,
        "tower_norm": "group" if layout.tower_norm else "none",
        "tower_bias": layout.tower_bias,
        "coarse_from": layout.coarse_from,
        "whole_pixels": True,
    }
    if layout.is_fcos:
        return _experiment(
            name,
            model=FCOS(quality="centerness", level_scales=False, **common),
            input=_sized(input_of, size, SHORT),
            postprocess=Postprocess(0.2, nms_iou=0.6, max_detections=100, clip=True),
            assigner=FCOSAssigner(),
            loss=FocalGIoU(),
        )
    thirds = tuple(4 * 2 ** (third / 3) for third in range(3))
    return _experiment(
        name,
        model=RetinaNet(quality=None, anchor_scales=thirds, aspect_ratios=(0.5, 1.0, 2.0), **common),
        input=_sized(input_of, size, SHORT),
        postprocess=Postprocess(0.05, nms_iou=0.5, max_detections=300, clip=True),
        assigner=MaxIoUAssigner(),
        loss=FocalGIoU(),
    )


DRAFTERS: Mapping[str, Drafter] = {
    "yolox": yolox_draft,
    "mmdet-yolox": yolox_draft,
    "torchvision": torchvision_draft,
}
"""By the word for `--from`."""


def _sized(make: Callable[[int], InputSpec], size: int | None, usual: int) -> InputSpec:
    """An input of that size. Raises `UserError`, naming the option, for one that cannot be."""
    try:
        return make(usual if size is None else size)
    except UserError as error:
        raise UserError(f"--size {size}: {error}") from error


def _experiment(name: str, **parts: Any) -> BaseExp:
    from otadet.exp.stored import StoredExp

    exp = StoredExp(name, {})
    for field, part in parts.items():
        setattr(exp, field, part)
    exp.check()
    return exp


def _coco_or_given(given: tuple[str, ...] | None, number: int, path: object) -> tuple[str, ...]:
    """The names that the user gives, or COCO's. Raises `UserError` where their number is not that of the network."""
    from otadet.convert.coco import COCO_CLASSES

    if given is None and number != len(COCO_CLASSES):
        raise UserError(f"{path}: has {number} classes, and does not name them; name them by --classes a,b,...")
    names = COCO_CLASSES if given is None else given
    if len(names) != number:
        raise UserError(f"{path}: has {number} classes, but --classes are {len(names)}")
    return names
