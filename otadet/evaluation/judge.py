"""Which program computes COCO's numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from otadet.errors import UserError

AUTO, PYCOCOTOOLS, FASTER = "auto", "pycocotools", "faster-coco-eval"
JUDGES = (AUTO, PYCOCOTOOLS, FASTER)
"""pycocotools decides what COCO's numbers are. faster-coco-eval computes the same in a fraction of the time, and comes
with the extra [fast-eval]; "auto" takes it where it is there. hotcoco is not among them: its numbers per class differ
where the classes are not in the order of their ids."""
COMPARED = "1.7", "1.9"
"""Versions of faster-coco-eval, from the first to below the second, that were compared with pycocotools."""


@dataclass(frozen=True)
class Judge:
    """A program with the interface of pycocotools."""

    name: str
    version: str
    data: Callable[[], Any]
    """Its class `COCO`."""
    evaluation: Callable[..., Any]
    """Its class `COCOeval`."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find_judge(name: str = AUTO) -> Judge:
    """The program of that name, one of `JUDGES`. Raises `UserError` for one that is not there, or too old or new."""
    if name not in JUDGES:
        raise UserError(f"judge {name}: there is no such judge; choose {' or '.join(JUDGES)}")
    if name == PYCOCOTOOLS or (name == AUTO and what_is_wrong_with_fast()):
        return Judge(
            PYCOCOTOOLS,
            version(PYCOCOTOOLS),
            import_module("pycocotools.coco").COCO,
            import_module("pycocotools.cocoeval").COCOeval,
        )
    if problem := what_is_wrong_with_fast():
        raise UserError(f"judge {FASTER}: {problem}")
    module = import_module("faster_coco_eval")
    return Judge(FASTER, version(FASTER), module.COCO, module.COCOeval_faster)


def what_is_wrong_with_fast() -> str:
    """Why faster-coco-eval cannot be used; "" where it can."""
    low, high = COMPARED
    try:
        found = version(FASTER)
    except PackageNotFoundError:
        return "not installed; pip install otadet[fast-eval]"
    if not _numbers(low) <= _numbers(found) < _numbers(high):
        return f"version {found} is installed, but its numbers are compared with pycocotools' for {low} to below {high}"
    return ""


def _numbers(text: str) -> tuple[int, ...]:
    """ "1.8.0" -> (1, 8, 0), up to the first part that is no number."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
