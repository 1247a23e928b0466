"""Decoded images in a folder, for this training and the next ones.

An entry is named after all that decides its pixels: the file's path, length and time, and how it is decoded. It has a
checksum; one that is cut or damaged counts as missing, and is written anew.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from otadet.data.cache.room import Plan
from otadet.data.image_files import ImageFiles
from otadet.errors import OutputError
from otadet.files import atomic_path

_HEADER = struct.Struct("<8sIII")
_MAGIC = b"otadet-1"
_SUFFIX = ".pixels"


@dataclass(frozen=True)
class Entry:
    """A file of a cache's folder."""

    path: Path
    bytes: int
    """Its size."""
    changed: float
    """Seconds since 1970."""


class DiskCache:
    """The images of a plan in a folder, as raw pixels behind a header of 20 bytes."""

    def __init__(self, images: ImageFiles, plan: Plan, folder: Path) -> None:
        self.folder = folder
        self._images = images
        self._shapes = images.decoded_sizes()
        self._kept = plan.kept

    def get(self, index: int) -> np.ndarray | None:
        """See `ImageCache`."""
        path = entry_path(self._images, index, self.folder)
        if path is None:
            return None
        height, width = self._shapes[index].tolist()
        try:
            with open(path, "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size != _HEADER.size + 3 * height * width:
                    return None
                header = file.read(_HEADER.size)
                image = np.empty((height, width, 3), np.uint8)
                if file.readinto(image.data.cast("B")) != image.nbytes:
                    return None
        except OSError:
            return None
        return image if header == _header(image) else None

    def put(self, index: int, image: np.ndarray) -> None:
        """See `ImageCache`."""
        path = entry_path(self._images, index, self.folder)
        if path is None or not self._kept[index]:
            return
        image = np.ascontiguousarray(image)
        # What does not fit after all, since others write to the disk too, is decoded again the next time.
        with suppress(OutputError, OSError), atomic_path(path) as temporary, open(temporary, "wb") as file:
            file.write(_header(image))
            file.write(image.data)


def entry_path(images: ImageFiles, index: int, folder: Path) -> Path | None:
    """Where the entry of an image is, or would be; None where there is no image file."""
    path = images.path(index)
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    decides = (
        os.path.abspath(path),
        status.st_size,
        status.st_mtime_ns,
        images.sizes[index].tolist(),
        int(images.reductions[index]),
        images.options,
        cv2.__version__,
    )
    name = hashlib.blake2b(repr(decides).encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return folder / name[:2] / f"{name[2:]}{_SUFFIX}"


def make_room(images: ImageFiles, folder: Path, limit: int) -> int:
    """Removes entries of other images, the oldest first, where those of `images` would not fit beside them.

    limit: bytes of the folder. Returns how many of them the entries of `images` may have.
    """
    own = {entry_path(images, index, folder) for index in range(len(images.sizes))}
    needed = int((3 * images.decoded_sizes().prod(axis=1) + _HEADER.size).sum())
    others = sorted((entry for entry in entries(folder) if entry.path not in own), key=lambda entry: entry.changed)
    taken = sum(entry.bytes for entry in others)
    for entry in others:
        if taken + needed <= limit:
            break
        with suppress(OSError):
            entry.path.unlink()
            taken -= entry.bytes
    return max(limit - taken, 0)


def entries(folder: Path) -> Iterator[Entry]:
    """What a cache left in the folder: entries, and what processes that were killed had begun to write."""
    with suppress(OSError):
        for part in os.scandir(folder):
            if len(part.name) != 2 or not part.is_dir(follow_symlinks=False):
                continue
            for file in os.scandir(part.path):
                if file.name.endswith(_SUFFIX) and file.is_file(follow_symlinks=False):
                    with suppress(OSError):
                        status = file.stat()
                        yield Entry(Path(file.path), status.st_size, status.st_mtime)


def _header(image: np.ndarray) -> bytes:
    return _HEADER.pack(_MAGIC, *image.shape[:2], zlib.crc32(image.data))
