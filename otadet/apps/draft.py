"""A checkpoint of otadet in the making, from the tensors of another program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otadet.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from otadet.exp import BaseExp, InputSpec


@dataclass(frozen=True)
class Wish:
    """What the user says of a file."""

    class_names: tuple[str, ...] | None = None
    """None: what is known of them."""
    size: int | None = None
    """Side of the input in pixels; None: the usual one."""
    norm_eps: float | None = None
    """Of the batch norms; None: the program's own."""


@dataclass(frozen=True)
class Draft:
    """A checkpoint of otadet in the making."""

    exp: BaseExp
    """With the network, its input and its postprocessing."""
    state: dict[str, Tensor]
    """Tensors by otadet's names, some of which the network may have no place for."""
    class_names: tuple[str, ...]
    finish: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    """Makes of those that have a place, in their shapes, otadet's weights."""
    notes: tuple[str, ...] = ()
    """What the user should know, a line each."""


Drafter = Callable[[dict[str, "Tensor"], object, Wish, str], Draft]
"""(tensors by otadet's names, the file, what is wished, name of the experiment) -> the draft. Raises `UserError`."""


def sized(make: Callable[[int], InputSpec], size: int | None, usual: int) -> InputSpec:
    """An input of that size. Raises `UserError`, naming the option, for one that cannot be."""
    try:
        return make(usual if size is None else size)
    except UserError as error:
        raise UserError(f"--size {size}: {error}") from error


def experiment(name: str, **parts: Any) -> BaseExp:
    """The experiment of that name with these parts by its fields. Raises `UserError` where they cannot work."""
    from otadet.exp.stored import StoredExp

    exp = StoredExp(name, {})
    for field, part in parts.items():
        setattr(exp, field, part)
    exp.check()
    return exp


def coco_or_given(given: tuple[str, ...] | None, number: int, path: object) -> tuple[str, ...]:
    """The names that the user gives, or COCO's. Raises `UserError` where their number is not that of the network."""
    from otadet.convert.coco import COCO_CLASSES

    if given is None and number != len(COCO_CLASSES):
        raise UserError(f"{path}: has {number} classes, and does not name them; name them by --classes a,b,...")
    names = COCO_CLASSES if given is None else given
    if len(names) != number:
        raise UserError(f"{path}: has {number} classes, but --classes are {len(names)}")
    return names
