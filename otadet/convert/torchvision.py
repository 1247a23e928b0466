"""Checkpoints of torchvision's FCOS and RetinaNet, for otadet's networks of the same layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.convert.coco import COCO_CLASSES, COCO_IDS
from otadet.convert.renaming import Rule, all_renamed
from otadet.errors import UserError
from otadet.models.backbones.resnet import depth_of, width_per_group_of

SIGNS = ("backbone.body.conv1.weight", "head.classification_head.cls_logits.weight")
"""Tensors that only its one-stage detectors with a ResNet have."""
NORM_EPS = 1e-5
"""Of the batch norms, unless somebody sets it."""
SHAPES = 9
"""Anchor boxes per location of its RetinaNets."""
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


@dataclass(frozen=True)
class Layout:
    """What the tensors say of the network."""

    is_fcos: bool
    depth: int
    """Of the ResNet."""
    groups: int
    width_per_group: int
    channels: int
    tower_depth: int
    tower_norm: bool
    tower_bias: bool
    coarse_from: str
    num_classes: int
    """With torchvision's row for the background."""


def named(state: Mapping[str, Tensor], path: object) -> dict[str, Tensor]:
    """The tensors by otadet's names. Raises `UserError`, naming the file, where two have one name."""
    is_fcos = "head.regression_head.bbox_ctrness.weight" in state
    boxes = (r"^head\.regression_head\.bbox_reg\.", "head.distances." if is_fcos else "head.deltas.")
    found = all_renamed(state, path, (*_RULES, boxes))
    blocks = [match for name in found if (match := _BLOCK.match(name))]
    # Per block a convolution and a ReLU, or a norm between them.
    layers = 3 if any(match[3] == "1" for match in blocks) else 2
    return {_in_sequence(name, layers): tensor for name, tensor in found.items()}


def _in_sequence(name: str, layers: int) -> str:
    return _BLOCK.sub(lambda match: f"{match[1]}.{layers * int(match[2]) + int(match[3])}.", name)


def layout_of(state: Mapping[str, Tensor], path: object) -> Layout:
    """The layout that a state dictionary with otadet's names is of. Raises `UserError`, naming the file."""
    is_fcos = "head.quality.weight" in state
    boxes = state.get("head.distances.weight" if is_fcos else "head.deltas.weight")
    logits, lateral, p6 = (state.get(f"{name}.weight") for name in ("head.logits", "neck.lateral.0", "neck.p6"))
    if any(tensor is None or tensor.dim() != 4 for tensor in (boxes, logits, lateral, p6)):
        raise UserError(f"{path}: not the tensors of an FCOS or a RetinaNet of torchvision with P3 to P7")
    assert boxes is not None
    assert logits is not None
    assert lateral is not None
    assert p6 is not None
    shapes, expected = boxes.shape[0] // 4, 1 if is_fcos else SHAPES
    if shapes != expected or logits.shape[0] % expected:
        raise UserError(
            f"{path}: has {shapes} anchor boxes per location, whose sizes no tensor says; otadet knows torchvision's "
            f"own {SHAPES}"
        )
    depth, groups, width = _resnet_of(state, path)
    convolutions = [name for name in state if re.match(r"head\.class_tower\.\d+\.weight", name)]
    convolutions = [name for name in convolutions if state[name].dim() == 4]
    norms = any(re.match(r"head\.class_tower\.\d+\.weight", name) and state[name].dim() == 1 for name in state)
    return Layout(
        is_fcos=is_fcos,
        depth=depth,
        groups=groups,
        width_per_group=width,
        channels=lateral.shape[0],
        tower_depth=len(convolutions),
        tower_norm=norms,
        tower_bias=any(name.replace(".weight", ".bias") in state for name in convolutions),
        coarse_from="p5" if p6.shape[1] == lateral.shape[0] else "c5",
        num_classes=logits.shape[0] // expected,
    )


def _resnet_of(state: Mapping[str, Tensor], path: object) -> tuple[int, int, int]:
    """Depth, groups and width per group of the backbone."""
    blocks = [0, 0, 0, 0]
    for name in state:
        if match := re.match(r"backbone\.layer([1-4])\.(\d+)\.conv1\.weight$", name):
            blocks[int(match[1]) - 1] += 1
    depth = depth_of(tuple(blocks), is_bottleneck="backbone.layer1.0.conv3.weight" in state)
    weight = state.get("backbone.layer1.0.conv2.weight")
    if depth is None or weight is None or weight.dim() != 4 or 0 in weight.shape:
        raise UserError(f"{path}: its backbone has {blocks} blocks in its stages, as no ResNet of otadet has")
    return (depth, *width_per_group_of(weight))


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
