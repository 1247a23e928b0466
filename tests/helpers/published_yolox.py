"""Small checkpoints of YOLOX, with the names that other programs give its tensors."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from otadet.exp import YOLOX


def authors(name: str) -> str:
    """What YOLOX's authors call a tensor of otadet's network: the inverse, written by itself."""
    part, rest = name.split(".", 1)
    rest = re.sub(r"\bdepthwise\b", "dconv", re.sub(r"\bpointwise\b", "pconv", re.sub(r"\bnorm\b", "bn", rest)))
    if part == "head":
        for ours, theirs in (
            ("class_towers", "cls_convs"),
            ("box_towers", "reg_convs"),
            ("logits", "cls_preds"),
            ("boxes", "reg_preds"),
            ("quality", "obj_preds"),
        ):
            rest = rest.replace(ours, theirs)
        return f"head.{rest}"
    rest = re.sub(r"bottlenecks\.(\d+)\.reduce", r"m.\1.conv1", rest)
    rest = re.sub(r"bottlenecks\.(\d+)\.spatial", r"m.\1.conv2", rest)
    is_pyramid = rest.startswith("stages.3.1.")
    rest = rest.replace(".reduce.", ".conv1.")
    rest = rest.replace(".merge.", ".conv2." if is_pyramid else ".conv3.")
    rest = rest.replace(".main.", ".conv1.").replace(".bypass.", ".conv2.")
    if part == "backbone":
        rest = re.sub(r"^stages\.(\d)", lambda found: f"dark{int(found[1]) + 2}", rest)
        return f"backbone.backbone.{rest.replace('stem.block', 'stem.conv')}"
    places = {
        "laterals.0": "reduce_conv1",
        "laterals.1": "lateral_conv0",
        "top_down.0": "C3_p3",
        "top_down.1": "C3_p4",
        "strided.0": "bu_conv2",
        "strided.1": "bu_conv1",
        "bottom_up.0": "C3_n3",
        "bottom_up.1": "C3_n4",
    }
    place = next(place for place in places if rest.startswith(place))
    return f"backbone.{places[place]}{rest[len(place) :]}"


def mmdet(name: str) -> str:
    """What MMDetection calls it."""
    name = re.sub(r"\bdepthwise\b", "depthwise_conv", re.sub(r"\bpointwise\b", "pointwise_conv", name))
    name = re.sub(r"\bnorm\b", "bn", name)
    name = re.sub(r"bottlenecks\.(\d+)\.reduce", r"blocks.\1.conv1", name)
    name = re.sub(r"bottlenecks\.(\d+)\.spatial", r"blocks.\1.conv2", name)
    if name.startswith("backbone.stages.3.1."):
        name = name.replace(".reduce.", ".conv1.").replace(".merge.", ".conv2.")
    name = name.replace(".main.", ".main_conv.").replace(".bypass.", ".short_conv.").replace(".merge.", ".final_conv.")
    name = re.sub(r"^backbone\.stages\.(\d)", lambda found: f"backbone.stage{int(found[1]) + 1}", name)
    for ours, theirs in (
        ("backbone.stem.block", "backbone.stem.conv"),
        ("neck.laterals.0", "neck.reduce_layers.1"),
        ("neck.laterals.1", "neck.reduce_layers.0"),
        ("neck.top_down.0", "neck.top_down_blocks.1"),
        ("neck.top_down.1", "neck.top_down_blocks.0"),
        ("neck.strided", "neck.downsamples"),
        ("neck.bottom_up", "neck.bottom_up_blocks"),
        ("head.stems", "neck.out_convs"),
        ("head.class_towers", "bbox_head.multi_level_cls_convs"),
        ("head.box_towers", "bbox_head.multi_level_reg_convs"),
        ("head.logits", "bbox_head.multi_level_conv_cls"),
        ("head.boxes", "bbox_head.multi_level_conv_reg"),
        ("head.quality", "bbox_head.multi_level_conv_obj"),
    ):
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name


NAMING = {"yolox": authors, "mmdet-yolox": mmdet}


def published(program: str, *, depthwise: bool = True, classes: int = 3) -> dict[str, Tensor]:
    """Numbers by which each tensor is known again; nothing that detects."""
    state = untrained(program, depthwise=depthwise, classes=classes)
    torch.manual_seed(0)
    return {name: torch.randn_like(tensor.float()) for name, tensor in state.items()}


def untrained(program: str, *, depthwise: bool = True, classes: int = 3, width: float = 0.125) -> dict[str, Tensor]:
    """A network's initial weights."""
    network = YOLOX(0.33, width, depthwise).build(classes)
    return {NAMING[program](name): tensor for name, tensor in network.state_dict().items()}
