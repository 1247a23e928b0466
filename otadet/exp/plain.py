"""Parts as plain data, which a checkpoint can hold, and back."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path, PurePath
from typing import Any, get_args, get_origin

from otadet.assigners import assigner_names, named_assigner
from otadet.assigners.ops.costs import BCECost, DistanceCost, FocalCost, GIoUCost, IoUCost, JointBCECost, QFLCost
from otadet.assigners.ops.pair_costs import DETRCost, OTACost
from otadet.data import transforms
from otadet.data.items import Items
from otadet.data.sampling import RepeatFactor
from otadet.data.transforms import (
    ColorJitter,
    Compose,
    CopyPaste,
    Letterbox,
    MixUp,
    Mosaic,
    MultiScale,
    PhotometricDistortion,
    RandomAffine,
    RandomFlip,
    RandomHSV,
    RandomIoUCrop,
    RandomTranspose,
    RandomZoom,
    ResizeShortestEdge,
    Until,
)
from otadet.errors import UserError
from otadet.exp.backbones import ResNet, TimmBackbone, TorchvisionBackbone
from otadet.exp.data import (
    CocoData,
    CrowdHumanData,
    DataFolder,
    DataList,
    PythonData,
    SyntheticShapes,
    VocData,
    YoloData,
)
from otadet.exp.families import FCOS, YOLOX, RetinaNet
from otadet.exp.losses import BCEIoU, FocalGIoU, FreeAnchor
from otadet.exp.run import Run
from otadet.inference.input_spec import InputSpec
from otadet.inference.postprocess import Postprocess
from otadet.inference.views import MultiScaleTest
from otadet.losses import BCE, MAL, QFL, VFL, FocalLoss
from otadet.optim.length import Epochs, Iterations
from otadet.optim.optimizer import SGD, AdamW
from otadet.optim.schedule import Cosine, Steps
from otadet.part import field_types
from otadet.values import PLAIN, options_of, without_numpy

PARTS: dict[str, type] = {
    part.__name__: part
    for part in (
        *(DataFolder, CocoData, YoloData, VocData, CrowdHumanData, DataList, PythonData, SyntheticShapes),
        RepeatFactor,
        *(InputSpec, FCOS, RetinaNet, YOLOX, FocalGIoU, BCEIoU, FreeAnchor, Run, Postprocess),
        *(ResNet, TimmBackbone, TorchvisionBackbone),
        MultiScaleTest,
        *(FocalLoss, QFL, VFL, MAL, BCE),
        *(SGD, AdamW, Steps, Cosine, Iterations, Epochs),
        *(type(named_assigner(name)) for name in assigner_names()),
        *(DETRCost, OTACost, FocalCost, BCECost, JointBCECost, QFLCost, IoUCost, GIoUCost, DistanceCost),
        *(ResizeShortestEdge, Letterbox, Compose, RandomFlip, RandomTranspose, RandomZoom, ColorJitter, Until),
        *(Mosaic, MixUp, CopyPaste, RandomAffine, RandomIoUCrop, RandomHSV, PhotometricDistortion, MultiScale),
    )
}
"""otadet's own parts, which alone are built from what a file says."""

_RENAMED = {"CocoFolder": "CocoData"}
"""Names of parts in checkpoints of older versions -> their names now."""


class ForeignPartError(UserError):
    """A part that is not otadet's own, and can only be had from its experiment file."""


def to_plain(value: Any) -> Any:
    """What a checkpoint can hold of a value.

    Plain Python is itself, a path its text, a part `{"part": name, field: ...}`; of anything that is not otadet's own
    there is also the `"file"` that defines it.
    """
    value = without_numpy(value)
    if type(value) in PLAIN:
        return value
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(to_plain(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, PurePath):
        return str(value)
    for kind in (bool, int, float, str):  # an enumeration of numbers, say
        if isinstance(value, kind):
            return kind(value)
    return _part_to_plain(value)


def _part_to_plain(value: Any) -> dict[str, Any]:
    cls = type(value)
    if PARTS.get(cls.__name__) is cls:
        return {"part": cls.__name__, **{name: to_plain(getattr(value, name)) for name in field_types(cls)}}
    if isinstance(value, Items):
        # Neither what is in them, nor how they show themselves, which may be as long.
        named = type(value.items)
        return {"part": named.__qualname__, "file": _where_defined(named.__module__)}
    named = value if hasattr(value, "__qualname__") else cls
    fields = field_types(cls) if is_dataclass(cls) else {}
    return {
        "part": named.__qualname__,
        "file": _where_defined(named.__module__),
        # Without the address, which another process would have another of.
        **({} if fields else {"text": re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))}),
        **{name: to_plain(getattr(value, name)) for name in fields},
    }


def _where_defined(module: str) -> str:
    """What a message names as the origin of a part that no checkpoint can hold: mostly the name of its file."""
    if module.split(".")[0] == "otadet":
        return "the experiment's file"
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).name if file else module


def from_plain(data: Any, path: str, hint: Any = Any) -> Any:
    """The value that `to_plain` made `data` of, lists being tuples.

    path: of its field, for messages. hint: the field's type; a part of another kind is refused. Raises
    `ForeignPartError` for a part that is not otadet's own, `UserError` for one that is none.
    """
    if isinstance(data, list | tuple):
        (inner,) = {get_args(option)[0] for option in options_of(hint) if get_origin(option) is tuple} or {Any}
        return tuple(from_plain(item, f"{path}.{place}", inner) for place, item in enumerate(data))
    if not isinstance(data, Mapping):
        return data
    name = data.get("part")
    name = _RENAMED.get(name, name) if isinstance(name, str) else name
    if "file" in data:
        raise ForeignPartError(f"{path} is {name}, of {data['file']}")
    if not isinstance(name, str) or name not in PARTS:
        raise UserError(f"{path} is {name!r}, which this otadet does not have; update it")
    cls, types = PARTS[name], field_types(PARTS[name])
    _check_kind(path, cls, hint)
    unknown = [field for field in data if field != "part" and field not in types]
    if unknown:
        raise UserError(f"{path}: this otadet's {name} has no field {unknown[0]!r}; update it")
    values = {
        field: from_plain(value, f"{path}.{field}", types[field]) for field, value in data.items() if field != "part"
    }
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}") from error


def _check_kind(path: str, cls: type, hint: Any) -> None:
    """Raise `UserError` where the field at `path` cannot hold a part of this class."""
    kinds = tuple(option for option in options_of(hint) if isinstance(option, type) and option not in PLAIN)
    if any(get_origin(option) is Callable for option in options_of(hint)):
        # Of what can be called, a transform: a Postprocess is called with something else.
        is_right = cls.__module__.startswith(transforms.__name__)
    else:
        is_right = hint is Any or issubclass(cls, kinds)
    if not is_right:
        raise UserError(f"{path} is {cls.__name__}, which is no part for it")
