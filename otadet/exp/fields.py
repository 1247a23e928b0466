"""The fields of an experiment and of its parts, by dotted paths: which there are, and how a command sets them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from otadet.engine.older import what_became_of
from otadet.errors import UserError, did_you_mean
from otadet.exp.words import READERS, SHORTHANDS, VALUE_READERS, WORDS, kinds_with, part_by_word
from otadet.part import field_types, types_of
from otadet.values import check_value, choices_of, options_of, parse_value

Settings = list[tuple[tuple[str, ...], str]]
"""Steps of a path, relative to some part, and the text to set there."""


@dataclass(frozen=True)
class Field:
    """A field of an experiment, or of a part in it."""

    path: str
    """Such as "run.lr" or "augment.0.horizontal"."""
    value: Any
    hint: Any
    """Its type."""

    @property
    def name(self) -> str:
        """The last step of the path."""
        return self.path.rpartition(".")[2]

    @property
    def reader(self) -> Callable[[str, str], Any] | None:
        """What reads its text, where its type does not; a choice of words does, whatever the field's name."""
        return None if choices_of(self.hint) else READERS.get(self.name) or VALUE_READERS.get(self.name)

    @property
    def is_part(self) -> bool:
        """Whether it holds a part, or could."""
        return is_part(self.value) or self.name in WORDS or self.reader in READERS.values()


def is_part(value: Any) -> bool:
    """Whether a value has fields of its own."""
    return is_dataclass(value) and not isinstance(value, type)


def fields_of(experiment: object) -> dict[str, Any]:
    """Name -> type of every annotated public attribute of the experiment's class, base class first.

    Raises `UserError` for a type that cannot be found when the program runs.
    """
    return {name: hint for name, hint in types_of(type(experiment)).items() if not name.startswith("_")}


def undeclared_attributes(experiment: object) -> list[str]:
    """Public plain attributes that no class declares with a type: most likely misspelt fields."""
    declared = fields_of(experiment)
    names = set(vars(experiment))
    for cls in type(experiment).__mro__[:-1]:
        names |= {
            name
            for name, value in vars(cls).items()
            if is_part(value) or not (callable(value) or isinstance(value, property | staticmethod | classmethod))
        }
    return sorted(name for name in names if not name.startswith("_") and name not in declared)


def all_fields(experiment: object) -> list[Field]:
    """Every field of the experiment, and of the parts in it, the outer ones first."""
    return [
        field
        for name, hint in fields_of(experiment).items()
        for field in _with_inner(Field(name, getattr(experiment, name), hint))
    ]


def names_of_fields(experiment: object) -> set[str]:
    """Every path, and every last step of one: what a command may begin a setting with."""
    fields = all_fields(experiment)
    return {field.path for field in fields} | {field.name for field in fields}


def _with_inner(field: Field) -> Iterator[Field]:
    yield field
    if is_part(field.value):
        for name, hint in field_types(type(field.value)).items():
            yield from _with_inner(Field(f"{field.path}.{name}", getattr(field.value, name), hint))
    elif isinstance(field.value, tuple):
        for place, item in enumerate(field.value):
            if is_part(item):
                yield from _with_inner(Field(f"{field.path}.{place}", item, type(item)))


def check_fields(experiment: object) -> None:
    """Raise `UserError` where any field has a value that is not of its type."""
    for field in all_fields(experiment):
        check_value(field.path, field.value, field.hint)


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
    paths = [field.path for field in _fields_with(experiment, composed)]
    return whole + [_meant(_resolved(name, paths), text) for name, text in found]


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


def _fields_with(experiment: object, values: Mapping[str, Any]) -> list[Field]:
    hints = fields_of(experiment)
    return [
        field
        for name, hint in hints.items()
        for field in _with_inner(Field(name, values.get(name, getattr(experiment, name)), hint))
    ]


def _resolved(name: str, paths: Sequence[str]) -> str:
    """The path that `name` is, or is the end of."""
    if name in paths:
        return name
    matching = [path for path in paths if path.endswith(f".{name}")]
    if len(matching) > 1:
        raise UserError(f"{name}: several parts have such a field; choose {' or '.join(matching)}")
    if name == "iterations" and matching == ["assigner.iterations"]:
        # Most who write it mean the other, and would change the labels without noticing.
        raise UserError(
            "iterations: which? assigner.iterations is of Sinkhorn-Knopp; the length of the training is set by length, "
            "such as `length 9000iterations`"
        )
    if matching:
        return matching[0]
    raise UserError(no_such_field(name, paths))


def no_such_field(name: str, paths: Sequence[str]) -> str:
    """What to say of a name that no field has: what has its place, which parts have it, or the nearest name."""
    if became := what_became_of(name):
        return f"{name}: the experiment has no such field; {became}"
    part, _, last = name.rpartition(".")
    inside = [path.rpartition(".")[2] for path in paths if part and path.rpartition(".")[0] == part]
    if inside:
        own = part.rpartition(".")[2]
        others = [part + kind.removeprefix(own) for kind in kinds_with(last) if kind.startswith(f"{own} ")]
        elsewhere = f", and {' or '.join(others)} has {last}" if others else ""
        return f"{name}: {part} has no such field; it has {', '.join(inside)}{elsewhere or did_you_mean(last, inside)}"
    if not part and (kinds := kinds_with(name)):
        return f"{name}: the experiment has no such field; {' or '.join(kinds)} has it"
    known = paths if part else dict.fromkeys(path.rpartition(".")[2] for path in paths)
    return f"{name}: the experiment has no such field{did_you_mean(name, known)}"


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
