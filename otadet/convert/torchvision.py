"""Checkpoints of torchvision's FCOS and RetinaNet, for otadet's networks of the same layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.convert.coco import COCO_CLASSES, COCO_IDS
from otadet.convert.pyramid import PyramidLayout, pyramid_of
from otadet.errors import UserError
from otadet.models.renaming import Rule, all_renamed

SIGNS = ("backbone.body.conv1.weight", "head.classification_head.cls_logits.weight")
"""Tensors that only its one-stage detectors with a ResNet have."""
NORM_EPS = 1e-5
"""Of the batch norms, unless somebody sets it."""
_RULES: tuple[Rule, ...] = (
    (r"^backbone\.body\.", "backbone."),
    (r"^backbone\.fpn\.inner_blocks\.(\d+)\.(?:0\.)?(?=weight|bias)", r"neck.lateral.\1."),
    (r"^backbone\.fpn\.layer_blocks\.(\d+)\.(?:0\.)?(?=weight|bias)", r"neck.output.\1."),
    (r"^backbone\.fpn\.extra_blocks\.(p[67])\.", r"neck.\1."),
    (r"^head\.classification_head\.cls_logits\.", "head.logits."),
    (r"^head\.classification_head\.conv\.", "head.class_tower."),
    (r"^head\.regression_head\.conv\.", "head.box_tower."),
    (r"^head\.regression_head\.bbox_ctrness\.", "head.quality."),
)
_BLOCK = re.compile(r"^(head\.\w+_tower)\.(\d+)\.(\d+)\.")
"""A layer of a tower that is a list of blocks of convolution, norm and ReLU, as RetinaNet's is since torchvision
0.12."""


def named(state: Mapping[str, Tensor], path: object) -> dict[str, Tensor]:
    """The tensors by otadet's names. Raises `UserError`, naming the file, where two have one name."""
    is_center = "head.regression_head.bbox_ctrness.weight" in state
    boxes = (r"^head\.regression_head\.bbox_reg\.", "head.distances." if is_center else "head.deltas.")
    found = all_renamed(state, path, (*_RULES, boxes))
    blocks = [match for name in found if (match := _BLOCK.match(name))]
    # Per block a convolution and a ReLU, or a norm between them.
    layers = 3 if any(match[3] == "1" for match in blocks) else 2
    return {_in_sequence(name, layers): tensor for name, tensor in found.items()}


def _in_sequence(name: str, layers: int) -> str:
    return _BLOCK.sub(lambda match: f"{match[1]}.{layers * int(match[2]) + int(match[3])}.", name)


def is_fcos(state: Mapping[str, Tensor]) -> bool:
    """Whether the tensors, by otadet's names, are those of its FCOS, which has a branch that its RetinaNet has not."""
    return "head.quality.weight" in state


def layout_of(state: Mapping[str, Tensor], path: object) -> PyramidLayout:
    """The layout that a state dictionary with otadet's names is of; its rows have torchvision's for the background.

    Raises `UserError`, naming the file, for any other network.
    """
    boxes = "head.distances" if is_fcos(state) else "head.deltas"
    return pyramid_of(state, boxes, path, "an FCOS or a RetinaNet of torchvision with P3 to P7")


def with_eps(state: Mapping[str, Tensor], eps: float) -> dict[str, Tensor]:
    """The same function of its input, by batch norms with `NORM_EPS` in place of `eps`: their weights make up for it.

    A channel whose variance and eps are both 0 has no output that is a number; it is left as it is.
    """
    changed = dict(state)
    for name, variance in state.items():
        weight = name.replace(".running_var", ".weight")
        if name.endswith(".running_var") and weight in state and eps != NORM_EPS:
            variance = variance.double()
            factor = ((variance + NORM_EPS) / (variance + eps)).sqrt()
            factor = torch.where(factor.isfinite(), factor, 1.0)
            changed[weight] = (state[weight].double() * factor).to(state[weight].dtype)
    return changed


@dataclass(frozen=True)
class Rows:
    """Which rows of the class layer are kept, and what they are called."""

    kept: tuple[int, ...]
    names: tuple[str, ...]
    note: str
    """What became of the others, for the user; "" where there are none."""


def rows_of(num_classes: int, given: tuple[str, ...] | None, path: object) -> Rows:
    """Rows of a class layer of torchvision, whose first is the background that nobody ever is.

    COCO's 91 are the ids of its categories, of which 80 are in use. Names that are `given` are those of all rows, or of
    all but the background. Raises `UserError`, naming the file, for another number of names.
    """
    every = tuple(range(num_classes))
    if num_classes == COCO_IDS[-1] + 1 and (given is None or len(given) == len(COCO_IDS)):
        note = f"of the {num_classes} rows of its class layer the {len(COCO_IDS)} that are classes of COCO were kept"
        return Rows(COCO_IDS, COCO_CLASSES if given is None else given, note)
    if given is None:
        note = (
            f"its {num_classes} classes have no names, and are numbered; row 0 of torchvision's networks is the "
            f"background: --classes with {num_classes - 1} names leaves it out"
        )
        return Rows(every, tuple(f"class {row}" for row in every), note)
    if len(given) == num_classes:
        return Rows(every, given, "")
    if len(given) == num_classes - 1:
        return Rows(every[1:], given, "row 0 of its class layer, the background, was left out")
    raise UserError(
        f"{path}: has {num_classes} classes, one of them the background, but --classes are {len(given)}: name "
        f"{num_classes - 1}, or {num_classes}"
    )


def with_rows(state: Mapping[str, Tensor], kept: tuple[int, ...], num_classes: int) -> dict[str, Tensor]:
    """With these rows of the class layer alone, for each anchor box of a location."""
    rows, count = list(kept), len(state["head.logits.weight"])
    layer = {name: state[name] for name in ("head.logits.weight", "head.logits.bias") if name in state}
    of_anchors = {
        name: tensor.unflatten(0, (-1, num_classes))[:, rows].flatten(0, 1)
        for name, tensor in layer.items()
        if tensor.shape[:1] == (count,)
    }
    return {**state, **of_anchors}


def coco_weights(named: dict[str, Tensor], path: object, norm_eps: float | None) -> dict[str, Tensor]:
    """The weights of a network with COCO's 80 classes, of one with torchvision's 91.

    norm_eps: of the batch norms; None: `NORM_EPS`. Raises `UserError`, naming the file, for another network.
    """
    num_classes = layout_of(named, path).num_classes
    state = with_rows(named, rows_of(num_classes, None, path).kept, num_classes)
    return with_eps(state, NORM_EPS if norm_eps is None else norm_eps)


def refuse(state: Mapping[str, Tensor], path: object) -> None:
    """Raise `UserError` for other files of torchvision, saying what they are good for."""
    if {"conv1.weight", "layer1.0.conv1.weight"} <= state.keys():
        raise UserError(
            f"{path}: is a ResNet alone, and needs no conversion: set model.backbone.weights {path}, or "
            "ResNet(weights=FILE) in an experiment"
        )
    if any(name.startswith(("rpn.", "roi_heads.")) for name in state):
        raise UserError(f"{path}: is a detector of two stages; otadet has FCOS, RetinaNet and YOLOX")
