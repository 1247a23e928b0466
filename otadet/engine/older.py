"""Names that fields had before experiments held parts: in checkpoints, and in commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from otadet.engine.restore import shown_value
from otadet.errors import UserError

NETWORK = (
    *("model.coarse_from", "model.anchor_offset", "model.whole_pixels"),
    *("model.anchor_scales", "model.aspect_ratios", "model.delta_weights"),
)
"""Of the network: weights may well fit another one, and find boxes in the wrong places."""
TRAINING = (*NETWORK, "optimizer.weight_decay_on")
"""Of a training that goes on: the optimizer's groups of parameters belong to one choice."""

_NAMES_OF_PARTS = {
    "data": (
        "train_json train_images val_json val_images class_names num_classes unreadable prescan outside_images "
        "max_pixels exif_orientation"
    ),
    "input": "mean std image_bits",
    "model.backbone": "depth width weights",
    "model": "quality channels tower_depth prior_probability coarse_from anchor_offset",
    "loss": "box_weight box_weighting quality_weight",
    "optimizer": "lr momentum weight_decay weight_decay_on",
    "postprocess": "score_threshold topk_per_level nms_iou max_detections rank_by",
    "run": (
        "batch_size workers group_by_aspect amp amp_dtype ema grad_clip seed eval_every log_every save_every best_by "
        "process_timeout"
    ),
}
_RENAMED = {
    "data_dir": "data.folder",
    "flip": "augment.0.horizontal",
    "warmup_iterations": "schedule.warmup",
}
"""Those that have another name now, and the same value."""
_REPLACED = {
    "train_sizes": "train_resize",
    "test_size": "input.resize",
    "letterbox": "input.resize",
    "steps": "schedule.at",
    "max_iterations": "length",
    "max_epochs": "length",
    "epochs": "length",
    "iterations": "length",
    "learning_rate": "optimizer.lr",
}
"""Those, and some that other programs have, in whose place is something else now."""
_EXAMPLES = {
    "data_dir": "data FOLDER",
    "train_sizes": "train_resize 640,800/1333",
    "test_size": "input.resize 800/1333",
    "letterbox": "input.resize 640x640",
    "max_iterations": "length 9000iterations",
    "max_epochs": "length 12epochs",
    "epochs": "length 12epochs",
    "iterations": "length 9000iterations",
    "warmup_iterations": "schedule.warmup 500",
    "steps": "schedule.at 0.67,0.89",
}
_PATHS = {
    **_RENAMED,
    **{name: f"{part}.{name}" for part, names in _NAMES_OF_PARTS.items() for name in names.split()},
}
"""Name of a field before experiments held parts -> the path where the same value is now."""


def what_became_of(name: str) -> str:
    """`"it has ... in its place"` for an older name, or an empty string."""
    path = (_RENAMED | _REPLACED).get(name)
    if path is None:
        return ""
    return f"it has {path} in its place{f', such as `{_EXAMPLES[name]}`' if name in _EXAMPLES else ''}"


def values_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> value of every field of the experiment that a checkpoint's content is of."""
    if state.get("parts"):
        return flat(state["parts"])
    fields = _with_older_fields(state.get("exp") or {})
    return {_PATHS[name]: value for name, value in fields.items() if name in _PATHS}


def flat(parts: Mapping[str, Any]) -> dict[str, Any]:
    """`{"model": {"part": "FCOS", "channels": 256}}` -> `{"model.part": "FCOS", "model.channels": 256}`."""
    return dict(_flat(parts, ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    start = f"{path}." if path else ""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(item, f"{start}{name}")
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value):
            yield from _flat(item, f"{start}{place}")
    else:
        yield path, value


def _with_older_fields(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in a checkpoint, and the values that those had which it is too old to name."""
    fields = dict(experiment)
    if "norm_weight_decay" in fields:
        decays = fields.pop("norm_weight_decay")
        older = {
            "coarse_from": "c5",
            "anchor_offset": 0.5,
            "weight_decay_on": "all" if decays else "weights",
            "group_by_aspect": False,
        }
        return older | fields
    return fields


def check_same_values(path: object, names: Sequence[str], trained: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise `UserError`, naming the checkpoint `path`, where `trained` and `own` have other values of these fields."""
    changed = [name for name in names if name in trained and name in own and trained[name] != own[name]]
    if changed:
        had, has = (" ".join(f"{name} {_typed(of[name])}" for name in changed) for of in (trained, own))
        raise UserError(f"{path}: trained with {had}, but the experiment has {has}; add {had} to the command")


def _typed(value: Any) -> str:
    """As it is set on a command line."""
    if isinstance(value, list | tuple):
        return ",".join(map(_typed, value))
    return shown_value(str(value).lower() if isinstance(value, bool) else value)
