"""Finds the file that a name in an annotation file means, where the two differ only in how they are written."""

from __future__ import annotations

import os
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote

from otadet.data.image_file import shown

IS_THERE = " is there, the same name "
"""What a hint has after the name of the file that it proposes."""
_MOST_FILES = 1_000_000


class SimilarNames:
    """The files below a folder by the writing that names have in common.

    Percent signs are resolved, backslashes are slashes, accents are one character with their letter, upper case is
    lower case. The folder is listed when the first hint is asked for; links to folders are not followed.
    """

    def __init__(self, folder: Path, *, deep: bool = True) -> None:
        """deep: look into the folders below as well."""
        self._folder, self._deep = folder, deep
        self._by_path: dict[str, list[str]] | None = None
        self._by_name: dict[str, list[str]] = {}

    def hint(self, name: str) -> str:
        """`"; FILE is there, ..."` for the one file that may be meant by `name`, relative to the folder, or nothing."""
        if self._by_path is None:
            self._list()
        key = _key(name)
        for files, difference in (
            (self._by_path.get(key), "in another writing"),
            (self._by_name.get(key.rsplit("/", 1)[-1]), "in another folder"),
        ):
            if files and len(files) == 1:
                return (
                    f"; {shown(files[0])}{IS_THERE}{difference}: correct file_name {_ascii(name)}, or the file's name"
                )
        return ""

    def _list(self) -> None:
        self._by_path, listed = {}, 0
        for where, folders, names in os.walk(self._folder):
            if not self._deep:
                folders.clear()
            for name in names:
                file = os.path.relpath(os.path.join(where, name), self._folder)
                self._by_path.setdefault(_key(file), []).append(file)
                self._by_name.setdefault(_key(name), []).append(file)
            listed += len(names)
            if listed > _MOST_FILES:
                break


def _key(name: str) -> str:
    plain = unquote(name, errors="surrogateescape").replace("\\", "/")
    parts = [part for part in normalize("NFC", plain).split("/") if part not in ("", ".")]
    return "/".join(parts).casefold()


def _ascii(name: str) -> str:
    # Accents as one or as two code points look alike; as escapes they do not.
    return ascii(name) if len(name) <= 100 else ascii(name[:100]) + "..."
