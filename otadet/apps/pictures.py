"""The pictures that `otadet predict` takes, and the names under which it draws them."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Collection, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from otadet.apps.outputs import check_outputs
from otadet.data.image_file import shown

if TYPE_CHECKING:
    from otadet.inference.predictor import ImagePredictor

DRAWN_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Endings that a drawn image keeps; any other gets .png appended."""
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")


def split_fields(words: list[str], fields: Collection[str]) -> tuple[list[str], list[str]]:
    """The words after --path -> paths, and what begins with the first that is no file but the name of a field.

    Raises `UserError` where the latter are no pairs, and for a word that is neither, but nearly the name of a field.
    """
    from otadet.errors import UserError
    from otadet.exp.pairs import incomplete

    for place, word in enumerate(words):
        if place and word in fields and not os.path.lexists(word):
            if (len(words) - place) % 2:
                raise UserError(incomplete(words[place:]))
            return words[:place], words[place:]
        if place and not os.path.lexists(word) and (near := get_close_matches(word, fields, n=1, cutoff=0.8)):
            raise UserError(f"--path {word}: neither a file nor a setting; did you mean {near[0]!r}?")
    return words, []


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and of folders the images by name, subfolders left out; each file once."""
    found: dict[Path, Path] = {}
    for path in paths:
        for file in images_of(path):
            found.setdefault(file.absolute(), file)
    return list(found.values())


def images_of(path: Path) -> list[Path]:
    """The file itself, or the images of a folder by name. Raises `UserError` where there is none."""
    from otadet.data.image_names import SimilarNames
    from otadet.data.images import IMAGE_SUFFIXES
    from otadet.errors import UserError, reason_of

    if not os.path.isdir(path):
        # A pipe or a device is named when its turn comes: opening it is for the reader, which does not wait for it.
        if os.path.lexists(path):
            if path.suffix.lower() in VIDEO_SUFFIXES:
                frames = f"ffmpeg -i {shown(path)} frame-%06d.jpg"
                raise UserError(f"--path {shown(path)}: is a video; name its frames, which {frames} writes")
            return [path]
        hint = SimilarNames(path.parent, deep=False).hint(path.name)
        raise UserError(f"--path {shown(path)}: no such file or folder{hint}")
    try:
        files = sorted(path.iterdir())
    except OSError as error:
        raise UserError(f"--path {shown(path)}: cannot be listed: {reason_of(error)}") from error
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and not os.path.isdir(file)]
    if not images:
        raise UserError(
            f"--path {shown(path)}: the folder itself holds no image (a file ending in {' '.join(IMAGE_SUFFIXES)})"
        )
    return images


def check_output_files(args: Namespace, inputs: list[Path]) -> None:
    """Raise `UserError` where an output would take the place of an input, or cannot be written."""
    from otadet.errors import UserError
    from otadet.files import check_folder

    if os.path.realpath(args.output) in {os.path.realpath(file.parent) for file in inputs}:
        raise UserError(f"--output {shown(args.output)}: is the folder of the images themselves; choose another")
    if os.path.exists(args.output) and not os.path.isdir(args.output):
        raise UserError(f"--output {shown(args.output)}: is a file; name a folder")
    check_folder(args.output)
    check_outputs({"--save-json": args.save_json}, [args.checkpoint, args.exp, *inputs])


def warn_of_ranges(inputs: list[Path], predictor: ImagePredictor) -> None:
    """Say where 16-bit files would become black, as the pre-scan of a training does."""
    from otadet.data.images import look_at_header
    from otadet.data.prescan import range_warnings
    from otadet.errors import UserError

    rows = []
    for row, path in enumerate(inputs):
        # What cannot be read is named when its turn comes.
        with suppress(UserError):
            if look_at_header(path, predictor.options).bits == 16:
                rows.append(row)
    for line in range_warnings(rows, inputs, predictor.options):
        print(f"warning: {line}", file=sys.stderr)


def output_names(paths: Sequence[Path]) -> list[str]:
    """A name for each drawn image. The whole name, so that photo.jpg and photo.png do not meet; files that have the
    same name, from several folders, get numbers."""
    taken: set[str] = set()
    drawn = []
    for path in paths:
        name = path.name if path.suffix.lower() in DRAWN_SUFFIXES else f"{path.name}.png"
        numbered, number = name, 1
        while numbered.casefold() in taken:
            number += 1
            numbered = f"{Path(name).stem}-{number}{Path(name).suffix}"
        taken.add(numbered.casefold())
        drawn.append(numbered)
    return drawn
