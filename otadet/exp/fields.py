"""The fields of an experiment and of its parts, by dotted paths: which there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from types import MappingProxyType
from typing import Any

from otadet.engine.older import what_became_of
from otadet.errors import did_you_mean
from otadet.exp.words import READERS, VALUE_READERS, WORDS, kinds_with
from otadet.part import field_types, types_of
from otadet.values import check_value, choices_of


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


def all_fields(experiment: object, values: Mapping[str, Any] = MappingProxyType({})) -> list[Field]:
    """Every field of the experiment, and of the parts in it, the outer ones first.

    values: name -> what a field is taken to hold in place of what it does.
    """
    return [
        field
        for name, hint in fields_of(experiment).items()
        for field in _with_inner(Field(name, values[name] if name in values else getattr(experiment, name), hint))
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
