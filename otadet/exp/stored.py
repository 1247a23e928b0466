"""Experiments that need no file: what a checkpoint says of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from otadet.errors import UserError
from otadet.exp.base import BaseExp
from otadet.exp.fields import check_fields, fields_of
from otadet.exp.heard import METHODS
from otadet.exp.plain import ForeignPartError, from_plain
from otadet.exp.set_fields import changed
from otadet.names import printable


class StoredExp(BaseExp):
    """The experiment of a checkpoint. Parts that its file defines are those of `BaseExp`, and not to be used."""

    def __init__(self, name: str, foreign: Mapping[str, str]) -> None:
        self._name = name
        self._foreign = dict(foreign)

    @property
    def name(self) -> str:
        return self._name

    def override(self, pairs: Sequence[str]) -> None:
        if not len(pairs) % 2:
            for name in changed(self, list(zip(pairs[::2], pairs[1::2], strict=True))):
                self.need((name,), f"{name} cannot be set")
        super().override(pairs)

    def check(self) -> None:
        if self._foreign:
            check_fields(self)
        else:
            super().check()

    def need(self, parts: Iterable[str], what: str) -> None:
        """Raise `UserError`, beginning with `what`, where one of these parts is defined by the experiment's file."""
        for part in parts:
            if part in self._foreign:
                raise UserError(f"{what}: {self._foreign[part]}; give that file with -f")


def stored_exp(path: object, state: Mapping[str, Any], needed: Iterable[str]) -> StoredExp:
    """The experiment of the checkpoint at `path`.

    Args:
        state: what `load_checkpoint` returned of it.
        needed: fields of the experiment that must be otadet's own parts; others may be those of its file.

    Raises `UserError`, saying which part needs its file, where a needed one is not otadet's own, and for a checkpoint
    that is too old to describe itself.
    """
    parts = state.get("parts") or {}
    if not parts:
        raise UserError(f"{path}: says nothing of its experiment, as those of older versions; give its file with -f")
    about = state.get("experiment") or {}
    values, foreign = _own_and_foreign(path, parts)
    name, methods = about.get("name", "experiment"), about.get("methods", [])
    if not isinstance(name, str) or not isinstance(methods, list | tuple):
        raise UserError(f"{path}: damaged: experiment is no name and methods")
    name = _file_name(name)
    for method, part in METHODS.items():
        if method in methods:
            foreign[part] = f"{part} is what {method} of the experiment {name} makes of it"
    exp = StoredExp(name, foreign)
    for field, value in values.items():
        setattr(exp, field, value)
    exp.need(needed, str(path))
    try:
        exp.check()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return exp


def _file_name(name: str) -> str:
    """The last part of what a file says that its experiment is called: a folder of that name is made below runs/."""
    last = re.split(r"[/\\]", printable(name))[-1].strip()
    return "experiment" if last in ("", ".", "..") else last


def _own_and_foreign(path: object, parts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """By field: the parts that are otadet's own, and what to say of the others."""
    values: dict[str, Any] = {}
    foreign: dict[str, str] = {}
    for name, hint in fields_of(BaseExp()).items():
        if name not in parts:
            continue
        try:
            values[name] = from_plain(parts[name], name, hint)
        except ForeignPartError as error:
            foreign[name] = str(error)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return values, foreign
