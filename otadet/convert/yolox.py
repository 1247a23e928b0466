"""Checkpoints of YOLOX, as its authors and MMDetection name the tensors, for otadet's network of the same layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from otadet.convert.tensors import convolution
from otadet.errors import UserError
from otadet.models.renaming import Rule

_LAYER: tuple[Rule, ...] = (
    (r"\.dconv\.|\.depthwise_conv\.", ".depthwise."),
    (r"\.pconv\.|\.pointwise_conv\.", ".pointwise."),
    (r"\.bn\.", ".norm."),
    (r"\.(?:m|blocks)\.(\d+)\.conv1\.", r".bottlenecks.\1.reduce."),
    (r"\.(?:m|blocks)\.(\d+)\.conv2\.", r".bottlenecks.\1.spatial."),
)
"""What is inside the blocks, in either program's words."""
AUTHORS: tuple[Rule, ...] = (
    (r"^backbone\.backbone\.stem\.conv\.", "backbone.stem.block."),
    (r"^backbone\.backbone\.dark5\.1\.conv1\.", "backbone.stages.3.1.reduce."),
    (r"^backbone\.backbone\.dark5\.1\.conv2\.", "backbone.stages.3.1.merge."),
    *((rf"^backbone\.backbone\.dark{stage + 2}\.", f"backbone.stages.{stage}.") for stage in range(4)),
    (r"^backbone\.reduce_conv1\.", "neck.laterals.0."),
    (r"^backbone\.lateral_conv0\.", "neck.laterals.1."),
    (r"^backbone\.C3_p3\.", "neck.top_down.0."),
    (r"^backbone\.C3_p4\.", "neck.top_down.1."),
    (r"^backbone\.bu_conv2\.", "neck.strided.0."),
    (r"^backbone\.bu_conv1\.", "neck.strided.1."),
    (r"^backbone\.C3_n3\.", "neck.bottom_up.0."),
    (r"^backbone\.C3_n4\.", "neck.bottom_up.1."),
    *_LAYER,
    (r"^((?:backbone|neck)\..*)\.conv1\.", r"\1.main."),
    (r"^((?:backbone|neck)\..*)\.conv2\.", r"\1.bypass."),
    (r"^((?:backbone|neck)\..*)\.conv3\.", r"\1.merge."),
    (r"^head\.cls_convs\.", "head.class_towers."),
    (r"^head\.reg_convs\.", "head.box_towers."),
    (r"^head\.cls_preds\.", "head.logits."),
    (r"^head\.reg_preds\.", "head.boxes."),
    (r"^head\.obj_preds\.", "head.quality."),
)
"""From the names of github.com/Megvii-BaseDetection/YOLOX."""
MMDET: tuple[Rule, ...] = (
    (r"^backbone\.stem\.conv\.", "backbone.stem.block."),
    (r"^backbone\.stage4\.1\.conv1\.", "backbone.stages.3.1.reduce."),
    (r"^backbone\.stage4\.1\.conv2\.", "backbone.stages.3.1.merge."),
    *((rf"^backbone\.stage{stage + 1}\.", f"backbone.stages.{stage}.") for stage in range(4)),
    # Coarsest first there, finest first here.
    (r"^neck\.reduce_layers\.0\.", "neck.laterals.one."),
    (r"^neck\.reduce_layers\.1\.", "neck.laterals.0."),
    (r"^neck\.top_down_blocks\.0\.", "neck.top_down.one."),
    (r"^neck\.top_down_blocks\.1\.", "neck.top_down.0."),
    (r"\.one\.", ".1."),
    (r"^neck\.downsamples\.", "neck.strided."),
    (r"^neck\.bottom_up_blocks\.", "neck.bottom_up."),
    (r"^neck\.out_convs\.", "head.stems."),
    (r"\.main_conv\.", ".main."),
    (r"\.short_conv\.", ".bypass."),
    (r"\.final_conv\.", ".merge."),
    *_LAYER,
    (r"^bbox_head\.multi_level_cls_convs\.", "head.class_towers."),
    (r"^bbox_head\.multi_level_reg_convs\.", "head.box_towers."),
    (r"^bbox_head\.multi_level_conv_cls\.", "head.logits."),
    (r"^bbox_head\.multi_level_conv_reg\.", "head.boxes."),
    (r"^bbox_head\.multi_level_conv_obj\.", "head.quality."),
)
"""From the names of MMDetection's YOLOX."""
_STEM = "backbone.stem.block.conv.weight"
_WHAT = "a YOLOX (nano, tiny, s, m, l or x)"
_DEPTHS = {1: 0.33, 2: 0.67, 3: 1.0, 4: 1.33}
"""Bottlenecks of the first stage -> the factor that is published."""
_CHANNELS = (2, 512)
"""Of the stem, at least and at most; those published have 16 to 80."""


@dataclass(frozen=True)
class Layout:
    """What the tensors say of the network."""

    depth: float
    """Factor of the blocks per stage, relative to YOLOX-L."""
    width: float
    """Factor of the channels, relative to YOLOX-L."""
    depthwise: bool
    """Whether 3x3 convolutions are separable."""
    num_classes: int


def layout_of(state: Mapping[str, Tensor], path: object) -> Layout:
    """The layout that a state dictionary with otadet's names is of. Raises `UserError`, naming the file."""
    stem, logits = (convolution(state, name, path, _WHAT) for name in (_STEM, "head.logits.0.weight"))
    bottlenecks = {
        int(found[1]) for name in state if (found := re.match(r"backbone\.stages\.0\.1\.bottlenecks\.(\d+)\.", name))
    }
    channels = stem.shape[0]
    if len(bottlenecks) not in _DEPTHS or not _CHANNELS[0] <= channels <= _CHANNELS[1]:
        raise UserError(
            f"{path}: not the tensors of {_WHAT}: a stem of {channels} channels, and "
            f"{len(bottlenecks)} bottlenecks in its first stage"
        )
    is_depthwise = any(".depthwise." in name for name in state)
    return Layout(_DEPTHS[len(bottlenecks)], channels / 64, is_depthwise, logits.shape[0])


def for_rgb(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same network for pictures in RGB: theirs sees BGR, each quarter of the stem's input by itself."""
    weight = state[_STEM]
    swapped = weight.unflatten(1, (-1, 3)).flip(2).flatten(1, 2)
    return {**state, _STEM: swapped.contiguous()}
