"""Words that stand for whole parts on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from otadet.assigners import OTAAssigner, SimOTAAssigner, assigner_names, named_assigner
from otadet.assigners.ops.costs import BCECost, DistanceCost, FocalCost, GIoUCost, IoUCost, JointBCECost, QFLCost
from otadet.assigners.ops.pair_costs import DETRCost, OTACost
from otadet.data.sampling import RepeatFactor
from otadet.data.transforms import Letterbox, MultiScale, ResizeShortestEdge
from otadet.errors import UserError, did_you_mean
from otadet.exp.backbones import ResNet, TimmBackbone, TorchvisionBackbone
from otadet.exp.data import DataFolder
from otadet.exp.families import FCOS, YOLOX, RetinaNet
from otadet.exp.losses import BCEIoU, FocalGIoU, FreeAnchor
from otadet.limits import brief
from otadet.losses import BCE, MAL, QFL, VFL, FocalLoss
from otadet.optim.optimizer import SGD, AdamW
from otadet.optim.schedule import Cosine, Steps
from otadet.part import field_types

YOLOX_LAYOUTS: Mapping[str, Callable[[], YOLOX]] = {
    "yolox_nano": partial(YOLOX, 0.33, 0.25, depthwise=True),
    "yolox_tiny": partial(YOLOX, 0.33, 0.375),
    "yolox_s": partial(YOLOX, 0.33, 0.5),
    "yolox_m": partial(YOLOX, 0.67, 0.75),
    "yolox_l": partial(YOLOX, 1.0, 1.0),
    "yolox_x": partial(YOLOX, 1.33, 1.25),
}
"""The published layouts."""
TORCHVISION_LAYOUTS: Mapping[str, Callable[[], FCOS | RetinaNet]] = {
    "fcos_torchvision": FCOS.torchvision,
    "retinanet_torchvision": RetinaNet.torchvision,
    "retinanet_torchvision_v2": partial(RetinaNet.torchvision, v2=True),
}
"""Those of its published detectors."""
WORDS: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "model": {"fcos": FCOS, "retinanet": RetinaNet, **YOLOX_LAYOUTS, **TORCHVISION_LAYOUTS},
    # torchvision has no weights for a ResNet-10.
    "backbone": {"resnet10": partial(ResNet, 10, weights=None)}
    | {f"resnet{depth}": partial(ResNet, depth) for depth in (18, 34, 50, 101)}
    | {
        "resnext50_32x4d": partial(ResNet, 50, groups=32, width_per_group=4),
        "resnext101_32x8d": partial(ResNet, 101, groups=32, width_per_group=8),
        "resnext101_64x4d": partial(ResNet, 101, groups=64, width_per_group=4),
        "timm": TimmBackbone,
        "torchvision": TorchvisionBackbone,
    },
    "assigner": {name: partial(named_assigner, name) for name in assigner_names()},
    "loss": {"focal_giou": FocalGIoU, "bce_iou": BCEIoU, "free_anchor": FreeAnchor},
    "class_loss": {"focal": FocalLoss, "qfl": QFL, "vfl": VFL, "mal": MAL, "bce": BCE},
    "optimizer": {"sgd": SGD, "adamw": AdamW},
    "sampling": {"repeat_factor": RepeatFactor},
    "schedule": {"steps": Steps, "cosine": Cosine},
    # Of an assigner.
    "class_cost": {"focal": FocalCost, "bce": BCECost, "joint_bce": JointBCECost, "qfl": QFLCost},
    "box_cost": {"iou": IoUCost, "giou": GIoUCost},
    "prior_cost": {"distance": DistanceCost},
    "cost": {"detr": DETRCost, "ota": OTACost, "yolox": OTACost.yolox, "rtmdet": OTACost.rtmdet},
}
"""By name of a field: word -> the part with its own defaults."""
_WITH_COSTS = (OTAAssigner, SimOTAAssigner)


def part_by_word(path: str, text: str, former: Any = None) -> Any:
    """The part that a word stands for in the field at `path`. Raises `UserError` for an unknown one.

    former: what the field has until then. OTA and SimOTA take over one another's costs.
    """
    name = path.rpartition(".")[2]
    known = WORDS[name]
    if text not in known:
        raise UserError(
            f"{path} {brief(text)}: there is no such {name}; choose {' or '.join(known)}{did_you_mean(text, known)}"
        )
    made = known[text]()
    if isinstance(former, _WITH_COSTS) and isinstance(made, _WITH_COSTS) and former.pair_cost != made.pair_cost:
        made = replace(made, cost=former.pair_cost)
    return made


def kinds_with(field: str) -> list[str]:
    """What to set for a part that has such a field, such as `optimizer sgd` for the momentum."""
    return [
        f"{name} {word}"
        for name, known in WORDS.items()
        for word, make in known.items()
        if field in field_types(type(make()))
    ]


def resize_by_text(path: str, text: str) -> Any:
    """`"640x480"`: a letterbox of that height and width; `"800/1333"` or `"640,800/1333"`: the shortest edge.

    path: of the field, for messages. Raises `UserError` for any other text, as all readers of words do.
    """
    if found := re.fullmatch(r"(\d+)x(\d+)", text.strip()):
        return Letterbox((int(found[1]), int(found[2])))
    if found := re.fullmatch(r"(\d+(?:,\d+)*)/(\d+)", text.strip()):
        return ResizeShortestEdge(tuple(int(size) for size in found[1].split(",")), int(found[2]))
    raise UserError(
        f"{path} {brief(text)}: expected 640x640, the height and width of a letterbox, or 800/1333, the shortest edge "
        "and the most that the longest may have"
    )


def augment_by_text(path: str, text: str) -> tuple[()]:
    """`"none"`: no random changes at all, the only ones that a word stands for."""
    if text.strip().lower() != "none":
        raise UserError(
            f"{path} {brief(text)}: expected none, for no random changes; set {path}.0.horizontal and so on"
        )
    return ()


def train_resize_by_text(path: str, text: str) -> Any:
    """As `resize_by_text`, and `"480x480,640x640"`: one of several letterboxes, drawn for each batch."""
    if re.fullmatch(r"\d+x\d+(,\d+x\d+)+", text.strip()):
        sizes = (re.findall(r"\d+", size) for size in text.split(","))
        return MultiScale(tuple(Letterbox((int(height), int(width))) for height, width in sizes))
    return resize_by_text(path, text)


def data_by_text(path: str, text: str) -> DataFolder:
    """A folder of annotated pictures, or the file that describes it."""
    return DataFolder(text)


def classes_by_text(path: str, text: str) -> tuple[tuple[str, str], ...]:
    """`"old=new,other=new"`: pairs of names."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(old.strip() and sign and new.strip() for old, sign, new in pairs):
        raise UserError(f"{path} {brief(text)}: expected old=new, or several such as old=new,other=new")
    return tuple((old.strip(), new.strip()) for old, _, new in pairs)


def object_sizes_by_text(path: str, text: str) -> tuple[tuple[float, float | None], ...]:
    """`"96-,0-,0-256"`: the smallest and the largest, or none that is the largest."""
    number = r"\d{1,9}(?:\.\d{1,9})?"
    found = [re.fullmatch(rf"({number})-({number})?", part.strip()) for part in text.split(",")]
    if not all(found):
        raise UserError(f"{path} {brief(text)}: expected the sizes of each scale, such as 96-,0-,0-256")
    return tuple((float(one[1]), float(one[2]) if one[2] else None) for one in found if one)


READERS: Mapping[str, Callable[[str, str], Any]] = {
    "data": data_by_text,
    "classes": classes_by_text,
    "resize": resize_by_text,
    "train_resize": train_resize_by_text,
    "augment": augment_by_text,
}
"""By name of a field: (path, text) -> the part."""
VALUE_READERS: Mapping[str, Callable[[str, str], Any]] = {"object_sizes": object_sizes_by_text}
"""By name of a field: (path, text) -> a value that is no part."""
SHORTHANDS: Mapping[tuple[str, str], tuple[str, str]] = {("run.batch_size", "auto"): ("run.auto_batch", "true")}
"""(path, text) -> the setting that is meant, of another field."""
