"""Methods that an experiment file has of its own: which parts they make something of, and what they look at."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from otadet.errors import UserError, did_you_mean

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


def own_methods(experiment: object, base: type) -> list[str]:
    """Those of `METHODS` that the experiment's class has in place of those of `base`."""
    return [name for name in METHODS if getattr(type(experiment), name) is not getattr(base, name)]


def check_heard(experiment: object, base: type, part: str) -> None:
    """Raise `UserError` where the file has a method in whose hands `part` is and that does not look at it.

    Whoever sets a field of that part would change nothing.
    """
    heard = {part, f"build_{part}", "__class__"}  # the last one stands for super()
    for name in _LOOKED_AT_BY.get(part, ()):
        method = getattr(type(experiment), name)
        if method is not getattr(base, name) and not heard & set(_names(method, experiment)):
            raise UserError(
                f"{part}: the experiment's own {name} does not look at it (self.{part}); to set it changes nothing"
            )


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
