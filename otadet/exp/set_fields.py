"""How a command sets the fields of an experiment and of its parts, by dotted paths or the ends of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from otadet.errors import UserError
from otadet.exp.fields import Field, all_fields, fields_of, is_part, no_such_field
from otadet.exp.words import SHORTHANDS, WORDS, part_by_word
from otadet.part import field_types
from otadet.values import options_of, parse_value

Settings = list[tuple[tuple[str, ...], str]]
"""Steps of a path, relative to some part, and the text to set there."""


def changed(experiment: object, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The fields of the experiment that `pairs` of names and texts change, with their new values.

    Whole parts are set before the fields in them, in whatever order they are given. A name may be the end of a path,
    where one path alone ends so. Raises `UserError` for an unknown name, for one that several parts have, and for a
    wrong value.
    """
    return _changed(experiment, _settings(experiment, pairs))


def paths_set(experiment: object, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The paths of the fields that `pairs` name. Raises `UserError` as `changed` does."""
    return [".".join(steps) for steps, _ in _settings(experiment, pairs)]


def _settings(experiment: object, pairs: Sequence[tuple[str, str]]) -> Settings:
    whole, found = _split(experiment, pairs)
    composed = _changed(experiment, whole)
    paths = [field.path for field in all_fields(experiment, composed)]
    return whole + [_meant(path, text) for name, text in found for path in _resolved(name, text, paths)]


def _meant(path: str, text: str) -> tuple[tuple[str, ...], str]:
    """A setting, or what a word stands for in its place."""
    path, text = SHORTHANDS.get((path, text.strip().lower()), (path, text))
    return tuple(path.split(".")), text


def _split(experiment: object, pairs: Sequence[tuple[str, str]]) -> tuple[Settings, list[tuple[str, str]]]:
    """Settings of whole parts that are there now, and the names and texts of the rest."""
    parts = [field.path for field in all_fields(experiment) if field.is_part]
    whole: Settings = []
    rest: list[tuple[str, str]] = []
    for name, text in pairs:
        matching = [path for path in parts if path == name] or [path for path in parts if path.endswith(f".{name}")]
        if len(matching) == 1:
            whole.append((tuple(matching[0].split(".")), text))
        else:
            rest.append((name, text))
    return whole, rest


def _resolved(name: str, text: str, paths: Sequence[str]) -> list[str]:
    """The path that `name` is, or is the end of: one, but for `weights none`, which leaves none anywhere."""
    if name in paths:
        return [name]
    matching = [path for path in paths if path.endswith(f".{name}")]
    if name == "weights" and text.strip().lower() == "none" and matching:
        return matching
    if len(matching) > 1:
        raise UserError(f"{name}: several parts have such a field; choose {' or '.join(matching)}")
    if name == "iterations" and matching == ["assigner.iterations"]:
        # Most who write it mean the other, and would change the labels without noticing.
        raise UserError(
            "iterations: which? assigner.iterations is of Sinkhorn-Knopp; the length of the training is set by length, "
            "such as `length 9000iterations`"
        )
    if matching:
        return matching
    raise UserError(no_such_field(name, paths))


def _changed(experiment: object, settings: Settings) -> dict[str, Any]:
    hints = fields_of(experiment)
    return {
        name: _with_settings(Field(name, getattr(experiment, name), hints[name]), inner)
        for name, inner in _by_first_step(settings).items()
    }


def _by_first_step(settings: Settings) -> dict[str, Settings]:
    grouped: dict[str, Settings] = defaultdict(list)
    for steps, text in settings:
        grouped[steps[0]].append((steps[1:], text))
    return grouped


def _with_settings(field: Field, settings: Settings) -> Any:
    """The field's new value: set as a whole first, then its own fields, all of them at once."""
    for steps, text in settings:
        if not steps:
            field = replace(field, value=_value(field, text))
    inner = _by_first_step([(steps, text) for steps, text in settings if steps])
    if not inner:
        return field.value
    if isinstance(field.value, tuple):
        return tuple(
            _with_settings(Field(f"{field.path}.{place}", item, type(item)), inner.get(str(place), []))
            for place, item in enumerate(field.value)
        )
    if not is_part(field.value):
        raise UserError(f"{field.path}.{next(iter(inner))}: {field.path} is {field.value}, without fields of its own")
    hints = field_types(type(field.value))
    values = {}
    for name, deeper in inner.items():
        if name not in hints:
            paths = [f"{field.path}.{own}" for own in hints]
            raise UserError(no_such_field(f"{field.path}.{name}", paths))
        values[name] = _with_settings(Field(f"{field.path}.{name}", getattr(field.value, name), hints[name]), deeper)
    return _guarded(field.path, lambda: replace(field.value, **values))


def _value(field: Field, text: str) -> Any:
    can_be_none = type(None) in options_of(field.hint)
    if can_be_none and text.lower() == "none":
        return None
    if hasattr(field.value, "in_folder"):
        return _guarded(field.path, lambda: field.value.in_folder(text))
    if (reader := field.reader) is not None:
        return _guarded(field.path, lambda: reader(field.path, text))
    if field.name in WORDS:
        return part_by_word(field.path, text, field.value)
    if is_part(field.value) and not any(hasattr(option, "from_text") for option in options_of(field.hint)):
        own = (f"{field.path}.{name}" for name in field_types(type(field.value)))
        raise UserError(
            f"{field.path} {text}: has no words for a whole {type(field.value).__name__}; set {', '.join(own)}"
        )
    return _guarded(field.path, lambda: parse_value(field.path, text, field.hint))


def _guarded(path: str, make: Callable[[], Any]) -> Any:
    """What `make` returns. Its `UserError` or `ValueError` is said of the part at `path`."""
    try:
        return make()
    except (UserError, ValueError, TypeError, OverflowError) as error:
        # A part says what it is; here its path says more.
        message = re.sub(r"^[A-Z]\w*: ", "", str(error))
        raise UserError(message if message.startswith(path) else f"{path}.{message}") from error
