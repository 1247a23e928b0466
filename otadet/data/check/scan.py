"""A close look at image files: whether they decode, and what tells one picture from another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from otadet.data.check.similar import THUMBNAIL, grey_picture, perceptual_hash, thumbnail
from otadet.data.images import DEFAULT, ReadOptions, check_header, look_at_header, read_image, shape
from otadet.data.workers import Work
from otadet.errors import UserError, reason_of

_FILES_AT_ONCE = 16
_BLANK = 3
"""A picture whose values lie so close together, in 0-255, is of one colour; dark ones of 16 bits may do anyway."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """What is known of the `S` image files of a split."""

    paths: tuple[Path, ...]
    problems: dict[int, str]
    """Row -> the message about a file that cannot be read."""
    sizes: np.ndarray
    """(S, 2) int64 height, width in pixels of what is read; 0 where that is not possible."""
    orientations: np.ndarray
    """(S,) int64 EXIF's, 1 is upright."""
    bits: np.ndarray
    """(S,) int64 per sample."""
    digests: np.ndarray
    """(S,) 32 hexadecimal digits of a hash of the file's bytes; empty where it was not read as a whole."""
    hashes: np.ndarray
    """(S,) uint64 `similar.perceptual_hash`."""
    thumbnails: np.ndarray
    """(S, 256) uint8 `similar.thumbnail`."""
    decoded: np.ndarray
    """(S,) bool: hash and thumbnail are known."""
    blank: np.ndarray
    """(S,) bool: of one colour."""


@dataclass(frozen=True)
class _Look:
    """At one file."""

    problem: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    bits: int = 8
    digest: bytes = b""
    hash: int = 0
    thumbnail: np.ndarray | None = None
    blank: bool = False


def scan_files(
    paths: Sequence[Path],
    *,
    options: ReadOptions = DEFAULT,
    decode: bool = True,
    workers: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> ImageFiles:
    """Looks at files; nothing that is in one of them ends the scan.

    Args:
        paths: S files.
        options: how they will be read.
        decode: read every file as training does. False: headers and ends alone, so that damage inside of a file and
            pictures that are alike are not found.
        workers: processes; 0 is this one. Decoders say what they find on an output that threads share.
        progress: called with the number of files that are done.
    """
    pieces = [tuple(paths[start : start + _FILES_AT_ONCE]) for start in range(0, len(paths), _FILES_AT_ONCE)]
    looks: list[_Look] = []
    for piece in Work(partial(_look_at, options=options, decode=decode), pieces).results(workers):
        looks += piece
        progress(len(looks))
    thumbnails = np.zeros((len(looks), THUMBNAIL**2), dtype=np.uint8)
    for row, look in enumerate(looks):
        if look.thumbnail is not None:
            thumbnails[row] = look.thumbnail
    return ImageFiles(
        paths=tuple(paths),
        problems={row: look.problem for row, look in enumerate(looks) if look.problem},
        sizes=np.array([look.size for look in looks], dtype=np.int64).reshape(-1, 2),
        orientations=np.array([look.orientation for look in looks], dtype=np.int64),
        bits=np.array([look.bits for look in looks], dtype=np.int64),
        digests=np.array([look.digest for look in looks], dtype="S32"),
        hashes=np.array([look.hash for look in looks], dtype=np.uint64),
        thumbnails=thumbnails,
        decoded=np.array([look.thumbnail is not None for look in looks], dtype=bool),
        blank=np.array([look.blank for look in looks], dtype=bool),
    )


def _look_at(paths: Sequence[Path], options: ReadOptions, decode: bool) -> list[_Look]:
    return [_look(path, options, decode) for path in paths]


def _look(path: Path, options: ReadOptions, decode: bool) -> _Look:
    try:
        if not decode:
            header = check_header(path, options)
            return _Look("", shape(header, options), header.orientation, header.bits)
        header = look_at_header(path, options)
        pixels = read_image(path, options)
        with open(path, "rb") as file:
            digest = hashlib.blake2b(file.read(), digest_size=16).hexdigest().encode()
    except UserError as error:
        return _Look(str(error))
    except OSError as error:
        return _Look(f"{path}: cannot be read: {reason_of(error)}")
    grey = grey_picture(pixels)
    return _Look(
        size=(pixels.shape[0], pixels.shape[1]),
        orientation=header.orientation,
        bits=header.bits,
        digest=digest,
        hash=perceptual_hash(grey),
        thumbnail=thumbnail(grey),
        blank=_is_blank(pixels, _BLANK if header.bits == 8 else 0),
    )


def _is_blank(pixels: np.ndarray, most: int) -> bool:
    """most: by which values may differ."""
    # Most pictures tell in a few pixels that they are none of these.
    return all((np.ptp(some, axis=(0, 1)) <= most).all() for some in (pixels[::16, ::16], pixels))
