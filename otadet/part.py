"""Parts: what an experiment's fields hold."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import PurePath
from typing import Any, cast, get_type_hints

from otadet.errors import UserError
from otadet.values import check_value, options_of, without_numpy


@dataclass(frozen=True)
class Part:
    """A frozen dataclass that checks itself.

    The type of each field says what it may hold: `Annotated[float, Limits(0, 1)]` a range, `Literal["a", "b"]` a
    choice. numpy's numbers become Python's, lists tuples, paths texts. Raises `UserError` for any other value,
    naming the part and the field.
    """

    def __post_init__(self) -> None:
        try:
            for name, hint in field_types(type(self)).items():
                value = _plain(getattr(self, name), hint)
                object.__setattr__(self, name, value)
                check_value(name, value, hint)
            self.check()
        except UserError as error:
            raise UserError(f"{type(self).__name__}: {error}") from error

    def check(self) -> None:
        """What the types of the fields cannot say. Raises `UserError`, beginning with a field's name."""


def _plain(value: Any, hint: Any) -> Any:
    value = without_numpy(value)
    if isinstance(value, PurePath) and str in options_of(hint):
        return str(value)
    return tuple(value) if isinstance(value, list) else value


def field_types(cls: type) -> dict[str, Any]:
    """Name -> type, with its annotations, of every field that a dataclass is made from.

    Raises `UserError` for a type that cannot be found when the program runs.
    """
    return _field_types(cast("Hashable", cls))


@cache
def _field_types(cls: Any) -> dict[str, Any]:
    hints = types_of(cls)
    return {field.name: hints[field.name] for field in fields(cls) if field.init}


def types_of(cls: type) -> dict[str, Any]:
    """Name -> type of every annotated attribute of a class. Raises `UserError` as `field_types` does."""
    try:
        return get_type_hints(cls, include_extras=True)
    except Exception as error:
        raise UserError(
            f"the type of a field cannot be found: {type(error).__name__}: {error}; import it without TYPE_CHECKING"
        ) from error
