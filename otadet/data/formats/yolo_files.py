"""Which image files a YOLO split has, and where the label file of each lies. Shape letter: `S` images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from otadet.data.annotations import BrokenEntry, note_wrong
from otadet.data.formats.folders import Listings, absolute, is_image, is_within, name_in, places, stem
from otadet.data.formats.json_file import brief_value
from otadet.data.formats.text_file import read_text
from otadet.data.image_file import shown
from otadet.data.image_names import name_problem
from otadet.errors import UserError

_FOLDERS = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS"}
"""Of images -> of their label files."""
LABEL_ENDINGS = (".txt", ".TXT")
_OTHER_TEXTS = ("classes", "train", "val", "valid", "test", "trainval", "readme", "notes", "labels", "license")
"""Beginnings of text files beside images that are no label files."""


@dataclass
class YoloFiles:
    """The files of a split."""

    names: list[str]
    """(S,) image files, sorted, relative to the folder of the data, or absolute."""
    labels: list[str | None]
    """(S,) label file of each, None where there is none."""
    listed_twice: int = 0
    """Entries of lists that name an image again."""
    orphans: list[str] = field(default_factory=list)
    """Label files without an image."""


def find_files(
    where: Sequence[str],
    folder: str,
    bases: Sequence[str],
    *,
    outside: bool,
    broken: list[BrokenEntry] | None = None,
) -> YoloFiles:
    """The images of folders and lists, and their label files.

    Args:
        where: folders of images, and text files that list images.
        folder: the folder of the data.
        bases: absolute folders that the lines of a list may be relative to, besides the list's own.
        outside: whether images may lie out of `folder`.
        broken: where lines of lists that are wrong are left out, and said here; None: they are errors.

    Raises `UserError` naming a list's line that names no file of `folder`, and a place without images.
    """
    folder, listings = absolute(folder), Listings()
    found: list[str] = []
    for place in where:
        if os.path.isdir(place):
            found += images_below(place, listings)
        else:
            found += _listed(place, [*bases, folder], folder, listings, outside, broken)
        if not found:
            raise UserError(f"{shown(place)}: has no images; expected are .jpg, .png and so on, or a list")
    by_name = {name_in(path, folder): path for path in found}
    names = sorted(by_name)
    paths = [by_name[name] for name in names]
    label_folders = {place: label_folder(place, folder) for place in set(map(os.path.dirname, paths))}
    labels = [_label(path, label_folders[os.path.dirname(path)], listings) for path in paths]
    files = YoloFiles(names, labels, len(found) - len(paths))
    files.orphans = _orphans(paths, files.labels, folder, listings)
    return files


def images_below(place: str, listings: Listings) -> list[str]:
    """Absolute paths of the images in a folder and those below it."""
    return [
        os.path.join(inner, name)
        for inner in listings.below(absolute(place))
        for name in listings.files(inner)
        if is_image(name)
    ]


def label_folder(image_folder: str, folder: str) -> str | None:
    """Where the labels of the images of a folder lie if not beside them: the last `images` of its path is `labels`."""
    if not is_within(image_folder, folder):
        folder = os.sep
    parts = os.path.relpath(image_folder, folder).split(os.sep)
    last = max((place for place, part in enumerate(parts) if part in _FOLDERS), default=None)
    if last is None:
        return None
    return os.path.join(folder, *parts[:last], _FOLDERS[parts[last]], *parts[last + 1 :])


def label_of(image: str, folder: str, listings: Listings) -> str | None:
    """The label file of an image, given by its absolute path; None where there is none."""
    return _label(image, label_folder(os.path.dirname(image), folder), listings)


def _label(image: str, labels: str | None, listings: Listings) -> str | None:
    """labels: the folder of labels that belongs to that of the image."""
    image_folder, name = os.path.split(image)
    for place in (labels, image_folder):
        if place is None:
            continue
        for ending in LABEL_ENDINGS:
            if (label := stem(name) + ending) in listings.files(place):
                return os.path.join(place, label)
    return None


def _listed(
    path: str,
    bases: Sequence[str],
    folder: str,
    listings: Listings,
    outside: bool,
    broken: list[BrokenEntry] | None,
) -> list[str]:
    """Absolute paths of the images that the lines of a file name."""
    text = read_text(path, "list of images", errors="surrogateescape")
    bases, found = [os.path.dirname(absolute(path)), *bases], []
    known: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if not line:
            continue
        # Images of a folder mostly follow each other, and lead to one place.
        place, name = os.path.split(line)
        if place in known and name in listings.files(known[place]):
            found.append(os.path.join(known[place], name))
            continue
        try:
            image = _image_of(line, bases, folder, listings, outside)
        except ValueError as error:
            note_wrong(path, f"line {number}: {brief_value(line)} {error}", broken)
            continue
        if os.path.basename(image) == name and listings.has_file(image):
            known[place] = os.path.dirname(image)
        found.append(image)
    return found


def _image_of(line: str, bases: Sequence[str], folder: str, listings: Listings, outside: bool) -> str:
    """The absolute path that a line names, of an image that may be missing; a `ValueError` says what is wrong."""
    if problem := name_problem(line, outside=True):
        raise ValueError(problem)
    image = next((there for there in places(line, bases, folder, outside) if listings.has_file(there)), None)
    if image is None:
        image = _missing(line, bases[0], folder)
    if image is None:
        raise ValueError(name_problem(line, outside=False) or "leads out of the image folder")
    if not is_image(image):
        raise ValueError("is not named as an image file")
    return image


def _missing(line: str, base: str, folder: str) -> str | None:
    """Where a file that is nowhere would lie, for the data set to say; None for one out of the data's folder."""
    if name_problem(line, outside=False):
        return None
    place = os.path.normpath(os.path.join(base, line))
    return place if is_within(place, folder) else None


def _orphans(images: Iterable[str], labels: Iterable[str | None], folder: str, listings: Listings) -> list[str]:
    """Label files in the folders of labels whose image is not there, sorted."""
    image_folders = {os.path.dirname(image) for image in images}
    in_use = {os.path.dirname(label) for label in labels if label is not None}
    orphans = []
    for place in sorted(image_folders):
        stems = {stem(name) for name in listings.files(place) if is_image(name)}
        # Beside images there may be other texts, among labels there are none.
        beside = {label_folder(place, folder), *({place} & in_use)}
        for label_place in sorted(place for place in beside if place is not None):
            orphans += [
                os.path.join(label_place, name)
                for name in listings.files(label_place)
                if name.endswith(LABEL_ENDINGS) and stem(name) not in stems and not is_other_text(name)
            ]
    return orphans


def is_other_text(name: str) -> bool:
    """Whether a text file beside label files is none of them, such as classes.txt."""
    return name.lower().split(".")[0] in _OTHER_TEXTS
