"""The files that a tool is told to write: looked at before it computes for long."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from otadet.data.image_file import shown
from otadet.errors import OutputError
from otadet.files import check_writable, is_special

Given = str | Path | None


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Given] = ()) -> None:
    """Raise `OutputError` for a file that would replace an input or another output, or that cannot be written.

    outputs: the option, such as "--csv" -> its file; None where it was not given. inputs: what the tool reads; what is
    None or no file, such as the name of an experiment, is passed over.
    """
    read = [path for path in inputs if path is not None and os.path.isfile(path)]
    given = {option: path for option, path in outputs.items() if path is not None}
    for option, path in given.items():
        if is_special(path):
            continue
        if any(_is_same(path, other) for other in read):
            raise OutputError(f"{option} {shown(path)}: is an input, which it would replace; name another file")
        for other, taken in given.items():
            if other != option and _is_same(path, taken):
                raise OutputError(f"{option} {shown(path)}: is what {other} writes; name another file")
    for option, path in given.items():
        try:
            check_writable(path)
        except OutputError as error:
            raise OutputError(f"{option} {error}") from error


def check_beside(option: str, path: Path | None, folder: Path, names: Iterable[str]) -> None:
    """Raise `OutputError` where a file would replace one of those in a folder.

    names: relative to the folder, as many as there may be; those alone that end as `path` does are looked at.
    """
    if path is None or not os.path.exists(path):
        return
    if any(name.endswith(path.name) and _is_same(path, folder / name) for name in names):
        raise OutputError(f"{option} {shown(path)}: is an image of the data, which it would replace; name another file")


def _is_same(one: str | Path, other: str | Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)
