"""Checkpoints of Detectron2's RetinaNet, and of the released OTA, whose framework descends from it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from otadet.convert.pyramid import RATIOS, SCALES, PyramidLayout, pyramid_of
from otadet.errors import UserError
from otadet.models.backbones.normalization import IMAGENET, Three
from otadet.models.backbones.norms import with_statistics
from otadet.models.renaming import Rule, all_renamed

SIGNS = ("backbone.bottom_up.stem.conv1.weight", "head.cls_score.weight")
"""Tensors that only its one-stage detectors have."""
_RULES: tuple[Rule, ...] = (
    (r"^backbone\.bottom_up\.stem\.conv1\.norm\.", "backbone.bn1."),
    (r"^backbone\.bottom_up\.stem\.conv1\.", "backbone.conv1."),
    *((rf"^backbone\.bottom_up\.res{stage + 1}\.", f"backbone.layer{stage}.") for stage in range(1, 5)),
    (r"^(backbone\.layer\d\.\d+)\.shortcut\.norm\.", r"\1.downsample.1."),
    (r"^(backbone\.layer\d\.\d+)\.shortcut\.", r"\1.downsample.0."),
    (r"^(backbone\.layer\d\.\d+)\.conv(\d)\.norm\.", r"\1.bn\2."),
    *((rf"^backbone\.fpn_lateral{level + 3}\.(?=weight|bias)", f"neck.lateral.{level}.") for level in range(3)),
    *((rf"^backbone\.fpn_output{level + 3}\.(?=weight|bias)", f"neck.output.{level}.") for level in range(3)),
    (r"^backbone\.top_block\.(p[67])\.", r"neck.\1."),
    (r"^head\.cls_subnet\.", "head.class_tower."),
    (r"^head\.bbox_subnet\.", "head.box_tower."),
    (r"^head\.cls_score\.", "head.logits."),
    (r"^head\.ious_pred\.", "head.quality."),
)
_SCALE = re.compile(r"head\.scales\.(\d+)\.scale")
_CELLS = re.compile(r"(?:module\.)?anchor_generator\.cell_anchors\.(\d+)")
_PIXELS = ("pixel_mean", "pixel_std")


@dataclass(frozen=True)
class Layout(PyramidLayout):
    """What the tensors say of the network, and of what it sees."""

    is_ota: bool
    mean: Three
    """RGB."""
    std: Three
    """RGB."""
    is_bgr: bool
    stride_in_1x1: bool
    is_said: bool
    """Whether the file says mean and std; if not, they are those that its program has for such a backbone."""


def named(state: Mapping[str, Tensor], path: object) -> dict[str, Tensor]:
    """The tensors by otadet's names; those that are no weights keep theirs.

    Raises `UserError`, naming the file, where two have one name, and for layers that otadet's networks do not have.
    """
    is_ota = "head.ious_pred.weight" in state
    boxes = (r"^head\.bbox_pred\.", "head.distances." if is_ota else "head.deltas.")
    layers = {name: tensor for name, tensor in state.items() if not _SCALE.fullmatch(name)}
    found = all_renamed(layers, path, (*_RULES, boxes))
    for name in found:
        if re.match(r"backbone\.(bottom_up|fpn_|top_block)|neck\..*norm|.*_offset\.|head\.(ctrness|centerness)", name):
            raise UserError(f"{path}: has {name}, and no network of otadet has such a layer")
    scales = {int(match[1]): state[name] for name in state if (match := _SCALE.fullmatch(name))}
    if scales:
        if sorted(scales) != list(range(len(scales))) or any(scale.numel() != 1 for scale in scales.values()):
            raise UserError(f"{path}: its head.scales are not one number per level")
        found["head.scales"] = torch.cat([scales[level].flatten() for level in range(len(scales))])
    return with_statistics(found)


def layout_of(state: Mapping[str, Tensor], path: object) -> Layout:
    """The layout that a state dictionary with otadet's names is of. Raises `UserError`, naming the file."""
    is_ota = "head.quality.weight" in state
    boxes = "head.distances" if is_ota else "head.deltas"
    pyramid = pyramid_of(state, boxes, path, "Detectron2's RetinaNet or the released OTA")
    _check_anchors(state, path)
    pixels = _pixels(state, pyramid.groups, path)
    # MSRA's ResNets have absorbed the deviation of the pixels into their weights.
    stride_in_1x1 = pixels.std == (1.0, 1.0, 1.0)
    return Layout(**vars(pyramid), **vars(pixels), is_ota=is_ota, stride_in_1x1=stride_in_1x1)


def _check_anchors(state: Mapping[str, Tensor], path: object) -> None:
    """Raise `UserError` where the file says that its anchor boxes are others than Detectron2's own."""
    for name, cells in state.items():
        if match := _CELLS.fullmatch(name):
            sizes = [8 * 2 ** int(match[1]) * size for size in SCALES]
            sides = [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for size in sizes for ratio in RATIOS]
            half = torch.tensor(sides) / 2
            own = torch.cat((-half, half), 1)
            if cells.shape != own.shape or not torch.allclose(cells.float(), own, rtol=1e-3, atol=1e-2):
                raise UserError(f"{path}: its anchor boxes, {name}, are others than Detectron2's own")


@dataclass(frozen=True)
class _Pixels:
    """Fields of the `Layout` that are about the input."""

    mean: Three
    std: Three
    is_bgr: bool
    is_said: bool


def _pixels(state: Mapping[str, Tensor], groups: int, path: object) -> _Pixels:
    if not all(name in state for name in _PIXELS):
        # Its ResNeXt is Facebook's, which is not MSRA's.
        return _Pixels(IMAGENET.mean, (1.0, 1.0, 1.0) if groups == 1 else IMAGENET.std, is_bgr=True, is_said=False)
    mean, std = (state[name].float().flatten().tolist() for name in _PIXELS)
    if len(mean) != 3 or len(std) != 3:
        raise UserError(f"{path}: pixel_mean and pixel_std are {len(mean)} and {len(std)} numbers in place of 3")
    # Blue is the darkest of ImageNet's channels.
    is_bgr = mean[0] < mean[2]
    step = -1 if is_bgr else 1
    return _Pixels(_three(mean[::step]), _three(std[::step]), is_bgr, is_said=True)


def _three(values: list[float]) -> Three:
    first, second, third = (round(value, 4) for value in values)
    return first, second, third


def weights_among(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what the layout has taken in already."""
    return {name: tensor for name, tensor in state.items() if not _CELLS.fullmatch(name) and name not in _PIXELS}


def as_ours(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The same network for pictures in RGB, with otadet's order of the anchor boxes.

    Its channels go through all aspect ratios of one size before the next, otadet's through all sizes of one ratio.
    """
    found = dict(state)
    if layout.is_bgr:
        found["backbone.conv1.weight"] = state["backbone.conv1.weight"].flip(1).contiguous()
    for name, tensor in () if layout.is_ota else state.items():
        if re.match(r"head\.(logits|deltas)\.", name):
            grouped = tensor.unflatten(0, (len(SCALES), len(RATIOS), -1))
            found[name] = grouped.transpose(0, 1).flatten(0, 2).contiguous()
    return found


def coco_weights(named: dict[str, Tensor], path: object, norm_eps: float | None) -> dict[str, Tensor]:
    """The weights of a network with COCO's 80 classes. Raises `UserError`, naming the file, for another network."""
    return as_ours(weights_among(named), layout_of(named, path))
