"""Images and categories of a COCO file that has wrong ones among them, for whoever looks for faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from otadet.data.annotations import BrokenEntry
from otadet.data.formats.json_section import Section, what_is_wrong_with
from otadet.errors import UserError

Checks = Mapping[str, Callable[[Section], object]]
"""Key of an entry -> what raises `UserError` where its value is wrong, given entries."""
_SIDES = frozenset(("width", "height"))


def objects_alone(path: Path, name: str, content: Any, broken: list[BrokenEntry]) -> Section:
    """The entries of a list that are objects, with each key once. Raises `UserError` where there is no such list."""
    rows = content.get(name) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        return Section(path, name, content)
    wrong = {place: problem for place, row in enumerate(rows) if (problem := what_is_wrong_with(row))}
    places = [place for place in range(len(rows)) if place not in wrong]
    section = Section(path, name, {name: [rows[place] for place in places]})
    section.places = places
    broken += [BrokenEntry(str(path), f"{name}[{place}]: {problem}") for place, problem in wrong.items()]
    return section


def usable_images(images: Section, checks: Checks, broken: list[BrokenEntry]) -> tuple[Section, list[int]]:
    """Those with a name; of one with a wrong id or side the rest is taken. And ids that no box is to be missed for.

    checks: of `id`, `file_name`, `width` and `height`.
    """
    kept, left_out, seen = [], [], dict[int, int]()
    faults = _faults(images, checks)
    for position, row in enumerate(images.rows):
        wrong = faults.get(position, {})
        broken += [BrokenEntry.of(images.path, error) for error in wrong.values()]
        number = None if "id" in wrong else row["id"]
        if "file_name" in wrong:
            left_out += [] if number is None else [number]
            continue
        for side in wrong.keys() & _SIDES:
            del row[side]
        if number in seen:
            _say(images, position, f"has the id {number} of images[{seen[number]}] again", broken)
            number = None
        # Ids of files are mostly above 0, so that no box refers to it by chance.
        row["id"] = -1 - 2**40 - position if number is None else number
        seen.setdefault(row["id"], images.places[position])
        kept.append(position)
    return images.of(kept), left_out


def usable_categories(categories: Section, checks: Checks, broken: list[BrokenEntry]) -> Section:
    """Those with an id, each another, and a name. checks: of `id` and `name`."""
    kept, seen = [], dict[int, int]()
    faults = _faults(categories, checks)
    for position, row in enumerate(categories.rows):
        if wrong := faults.get(position):
            broken += [BrokenEntry.of(categories.path, error) for error in wrong.values()]
            continue
        if row["id"] in seen:
            _say(categories, position, f"has the id {row['id']} of categories[{seen[row['id']]}] again", broken)
            continue
        seen[row["id"]] = categories.places[position]
        kept.append(position)
    return categories.of(kept)


def _faults(section: Section, checks: Checks) -> dict[int, dict[str, UserError]]:
    """Position of an entry -> its keys whose values are wrong, and what is."""
    found: dict[int, dict[str, UserError]] = {}
    for key, check in checks.items():
        for position, error in _those_wrong(section, range(len(section.rows)), check):
            found.setdefault(position, {})[key] = error
    return found


def _those_wrong(
    section: Section, positions: Sequence[int], check: Callable[[Section], object]
) -> Iterator[tuple[int, UserError]]:
    """Found by halves, as most are right."""
    try:
        check(section.of(positions))
    except UserError as error:
        half = len(positions) // 2
        if not half:
            yield positions[0], error
            return
        yield from _those_wrong(section, positions[:half], check)
        yield from _those_wrong(section, positions[half:], check)


def _say(section: Section, position: int, problem: str, broken: list[BrokenEntry]) -> None:
    broken.append(BrokenEntry.of(section.path, section.error(position, problem)))
