"""Folders of a data set: what lies in them, listed once, and where a path that another machine wrote leads here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from otadet.data.formats.layout import plain_split
from otadet.data.image_file import shown
from otadet.data.images import IMAGE_SUFFIXES
from otadet.errors import UserError, did_you_mean, reason_of

_OWN_PARTS = 3
"""Of a folder's path those that may say which split it is for."""
_LOOKED_AT = 200
"""Folders that are looked into for an image."""


_SYSTEMS = ("lost+found", "$recycle.bin", "system volume information", "@eadir", "#recycle", "__macosx")


class Listings:
    """Names in folders; every folder is listed when it is first asked for. A folder that is none is empty."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, None]] = {}
        self._folders: dict[str, list[str]] = {}

    def files(self, folder: str) -> dict[str, None]:
        """Names of the files in a folder, sorted, less those of `is_systems`."""
        if folder not in self._files:
            self._list(folder)
        return self._files[folder]

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted, less those of `is_systems`."""
        if folder not in self._files:
            self._list(folder)
        return self._folders[folder]

    def has_file(self, path: str) -> bool:
        """Whether there is such a file."""
        folder, name = os.path.split(path)
        return name in self.files(folder)

    def below(self, folder: str) -> Iterator[str]:
        """The folder and those below it, in their order. Links are followed, but to no folder twice."""
        seen: set[tuple[int, int]] = set()
        waiting = [folder]
        while waiting:
            place = waiting.pop()
            try:
                status = os.stat(place)
            except OSError:
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            yield place
            waiting += [os.path.join(place, name) for name in reversed(self.folders(place))]

    def _list(self, folder: str) -> None:
        files: list[str] = []
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not is_systems(entry.name):
                        (folders if entry.is_dir() else files).append(entry.name)
        except PermissionError as error:
            raise UserError(f"{shown(folder)}: cannot be listed: {reason_of(error)}; give yourself access") from error
        except (OSError, ValueError):
            pass
        self._files[folder] = dict.fromkeys(sorted(files))
        self._folders[folder] = sorted(folders)


def is_systems(name: str) -> bool:
    """Whether a file or folder is hidden, or one that systems put everywhere, perhaps with pictures of their own."""
    return name.startswith(".") or name.lower() in _SYSTEMS


def no_such_folder(path: str | Path) -> str:
    """The message about a folder that is missing, which names one beside it that may be meant."""
    folder, lacking = Path(os.path.abspath(path)), ""
    while not os.path.isdir(folder.parent) and folder.parent != folder:
        folder = folder.parent
        lacking = f", nor is {shown(folder)} there"
    try:
        with os.scandir(folder.parent) as entries:
            beside = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        beside = []
    near = did_you_mean(folder.name, beside)
    advice = "name another in the experiment, or by data FOLDER after a command"
    return f"{shown(path)}: no such folder{lacking}{near}; {advice}"


def is_image(name: str) -> bool:
    """Whether a file's name ends as that of an image."""
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES


def has_images(folder: str | Path, listings: Listings) -> bool:
    """Whether there are any in the folder, or in the first ones below it."""
    inner = islice(listings.below(absolute(folder)), _LOOKED_AT)
    return any(is_image(name) for place in inner for name in listings.files(place))


def folder_of(file: Path) -> Path:
    """The folder of the data that a file describes, which is named by itself: its own, or the one above if there are
    images, but none in its own."""
    # Absolute, as the folders around a file that is named from its own folder have no names otherwise.
    own, listings = Path(absolute(file)).parent, Listings()
    return own.parent if not has_images(own, listings) and has_images(own.parent, listings) else own


def stem(name: str) -> str:
    """A file's name less its suffix."""
    return os.path.splitext(name)[0]


def is_within(path: str, folder: str) -> bool:
    """Whether an absolute path without `..` lies in an absolute folder, or is it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def name_in(path: str, folder: str) -> str:
    """What an absolute path is called in an absolute folder; itself where it lies elsewhere."""
    return path[len(folder.rstrip(os.sep)) + 1 :] if path != folder and is_within(path, folder) else path


def places(text: str, bases: Sequence[str], folder: str, outside: bool) -> Iterator[str]:
    """Where a path of a file may lead, the likeliest first: absolute paths without `..`.

    It may be relative to any of `bases`, or may have been written on another machine, whose folders above that of the
    data are another: so the ends of the path are looked for in `folder` too.

    Args:
        text: the path, with slashes or backslashes.
        bases: absolute folders that it may be relative to.
        folder: the absolute folder of the data.
        outside: whether places out of `folder` count.
    """
    for path in (text, text.replace("\\", "/")) if "\\" in text else (text,):
        for base in bases:
            place = os.path.normpath(os.path.join(base, path))
            if outside or is_within(place, folder):
                yield place
        parts = [part for part in re.sub(r"^[A-Za-z]:/", "/", path).split("/") if part not in ("", ".", "..")]
        for end in path_ends(parts, folder):
            yield os.path.join(folder, *end)


def path_ends(parts: Sequence[str], folder: str) -> Iterator[Sequence[str]]:
    """The ends of a path that was written on another machine, the longest first, which may be found in `folder`.

    None is without the last part that says a split, `train` of `/home/me/train/images`, unless `folder` says it:
    otherwise all splits would lead to the `images` of one.
    """
    own = {plain_split(part) for part in folder.split(os.sep)[-_OWN_PARTS:]}
    said = [place for place, part in enumerate(parts) if (split := plain_split(part)) and split not in own]
    for first in range(said[-1] + 1 if said else len(parts)):
        yield parts[first:]


def absolute(path: str | Path) -> str:
    """The path from the root on, without `..`; links stay as they are."""
    return os.path.abspath(path)
