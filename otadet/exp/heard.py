"""What of an experiment is heard: fields that its own methods do not look at, and fields that others silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from types import CodeType, FunctionType
from typing import Any

from otadet.errors import UserError, did_you_mean
from otadet.exp.fields import all_fields, is_part

METHODS = {
    "build_model": "model",
    "build_assigner": "assigner",
    "build_loss": "loss",
    "build_train_transform": "augment",
    "build_train_dataset": "data",
    "build_val_dataset": "data",
    "build_test_dataset": "data",
    "build_read_options": "data",
    "build_optimizer": "optimizer",
    "build_schedule": "schedule",
    "iterations": "length",
    "build_pipeline": "postprocess",
}
"""Methods that an experiment file may have of its own -> the part that they make something of."""
_LOOKED_AT_BY = {
    "model": ("build_model",),
    "assigner": ("build_assigner", "build_loss"),
    "loss": ("build_loss",),
    "augment": ("build_train_transform",),
    "train_resize": ("build_train_transform",),
    "optimizer": ("build_optimizer",),
    "schedule": ("build_schedule",),
    "length": ("iterations",),
    "postprocess": ("build_pipeline",),
}
"""Part -> the methods of `BaseExp` that it goes through."""
_OLDER = {
    "build_head": "model",
    "build_test_transform": "input",
    "build_normalize": "input",
    "build_input": "input",
    "build_postprocess": "postprocess",
    "choose_assigner": "assigner",
}
"""Methods that nothing calls any more -> the field that has their place."""


@dataclass(frozen=True)
class _Silence:
    """A field of otadet's parts that has no say where another one of the same part has certain values."""

    field: str
    by: str
    """The other field."""
    is_silent: Callable[[Any], bool]
    """Whether this value of it silences the field."""
    instead: str
    """What to set it to where the field is to be heard."""
    part: str = ""
    """The part's class, where others have fields of these names too."""


def _is_zero(value: Any) -> bool:
    return getattr(value, "count", value) == 0  # of epochs, or the number itself


_SILENCES = (
    _Silence("top_q", "k", lambda k: k is not None, "none"),
    _Silence("prior", "shared", bool, "false"),
    # The iterations are looked at every ten.
    _Silence("tolerance", "iterations", lambda iterations: iterations <= 10, "above 10"),
    _Silence("class_cost", "cost", lambda cost: cost is not None, "none"),
    _Silence("box_cost", "cost", lambda cost: cost is not None, "none"),
    _Silence("iou_weight", "cost", lambda cost: cost is not None, "none"),
    _Silence("box_cost", "iou_weight", _is_zero, "above 0"),
    _Silence("class_cost", "class_weight", _is_zero, "above 0"),
    _Silence("warmup_start", "warmup", _is_zero, "above 0"),
    _Silence("factor", "at", lambda places: not places, "to where the rate is to drop"),
    _Silence("weight_decay_on", "weight_decay", _is_zero, "above 0"),
    _Silence("tower_norm", "tower_depth", _is_zero, "above 0"),
    _Silence("tower_bias", "tower_depth", _is_zero, "above 0"),
    _Silence("box_weight", "alpha", _is_zero, "above 0", "FreeAnchor"),
    _Silence("gamma", "alpha", lambda alpha: alpha == 1, "below 1", "FreeAnchor"),
    _Silence("threshold", "alpha", lambda alpha: alpha == 1, "below 1", "FreeAnchor"),
)
_HEARD_ELSEWHERE = ("unreadable", "max_pixels", "num_classes")
"""Of the data: by the loaders, the predictor and `load_detector`, too."""


def own_methods(experiment: object, base: type) -> list[str]:
    """Those of `METHODS` that the experiment's class has in place of those of `base`."""
    return [name for name in METHODS if getattr(type(experiment), name) is not getattr(base, name)]


def check_heard(experiment: object, base: type, part: str) -> None:
    """Raise `UserError` where a method of the experiment's file replaces one that uses `part`, and does not use it.

    Setting a field of that part would then change nothing.
    """
    heard = {part, f"build_{part}", "__class__"}  # the last one stands for super()
    for name in _LOOKED_AT_BY.get(part, ()):
        method = getattr(type(experiment), name)
        if method is not getattr(base, name) and not heard & set(_names(method, experiment)):
            raise UserError(
                f"{part}: the experiment's own {name} does not look at it (self.{part}); to set it changes nothing"
            )


def unheard_settings(experiment: Any, base: type) -> dict[str, str]:
    """Path -> what to say of every field that differs from its part's default, and can have no effect here."""
    found: dict[str, str] = {}
    for field in all_fields(experiment):
        if is_part(field.value) and type(field.value).__module__.startswith("otadet."):
            found |= dict(_silenced(field.path, field.value))
    found |= dict(_unheard_data(experiment, base))
    model, rank_by = experiment.model, getattr(experiment.postprocess, "rank_by", "score")
    if getattr(model, "quality", "own") is None and rank_by != "score":
        found["postprocess.rank_by"] = (
            f"postprocess.rank_by {rank_by}: changes nothing while model.quality is none, as the score is the class's "
            "then; leave it out, or set model.quality iou"
        )
    return found


def _silenced(path: str, part: Any) -> Iterator[tuple[str, str]]:
    for rule in _SILENCES:
        is_of_part = hasattr(part, rule.by) and rule.part in ("", type(part).__name__)
        if not is_of_part or rule.field not in (own := _changed_fields(part)):
            continue
        if rule.is_silent(value := getattr(part, rule.by)):
            yield (
                f"{path}.{rule.field}",
                f"{path}.{rule.field} {_shown(own[rule.field])}: changes nothing while {path}.{rule.by} is "
                f"{_shown(value)}; leave it out, or set {path}.{rule.by} {rule.instead}",
            )


def _unheard_data(experiment: Any, base: type) -> Iterator[tuple[str, str]]:
    """Fields of the data that cannot matter, as methods of the experiment's file make the data sets without them."""
    deaf = {
        split: method.__name__
        for split in ("train", "val")
        if (method := getattr(type(experiment), f"build_{split}_dataset")) is not getattr(base, method.__name__)
        and not {"data", "__class__"} & set(_names(method, experiment))
    }
    of_split = {f"{split}_{what}" for split in deaf for what in ("json", "images")}
    for name in _changed_fields(experiment.data) if is_part(experiment.data) else ():
        if name in of_split or (len(deaf) == 2 and name not in _HEARD_ELSEWHERE):
            yield (
                f"data.{name}",
                f"data.{name}: the experiment's own {' and '.join(deaf.values())} "
                f"{'do' if len(deaf) == 2 else 'does'} not look at it (self.data); to set it changes nothing",
            )


def _changed_fields(part: Any) -> dict[str, Any]:
    """Name -> value of the fields that differ from their defaults."""
    changed = {}
    for field in fields(part):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if (value := getattr(part, field.name)) != default:
            changed[field.name] = value
    return changed


def _shown(value: Any) -> str:
    if is_part(value):
        return type(value).__name__
    return "none" if value in (None, ()) else f"{str(value).lower() if isinstance(value, bool) else value}"


def check_called(experiment: object, base: type) -> None:
    """Raise `UserError` for a method `build_...` that nothing calls: one of older versions, or a misspelt one."""
    functions = {
        name: value
        for cls in type(experiment).__mro__
        if not issubclass(base, cls)
        for name, value in vars(cls).items()
        if isinstance(value, FunctionType)
    }
    mentioned = {name for value in functions.values() for name in _mentioned(value.__code__)}
    for name in functions:
        if name in _OLDER:
            raise UserError(f"{name}: nothing calls this method any more; set the field {_OLDER[name]} in its place")
        if name.startswith("build_") and not hasattr(base, name) and name not in mentioned:
            raise UserError(f"{name}: nothing calls this method{did_you_mean(name, METHODS)}")


def _names(method: Any, experiment: object, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """What a method mentions, and what the experiment's other methods do that it calls."""
    for name in _mentioned(method.__code__):
        yield name
        called = getattr(type(experiment), name, None)
        if isinstance(called, FunctionType) and name not in seen:
            yield from _names(called, experiment, seen | {name})


def _mentioned(code: CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _mentioned(constant)
