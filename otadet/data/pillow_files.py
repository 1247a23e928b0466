"""Pillow for files that nobody vouches for: few formats, a limit on pixels, a limit on what is read, no warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from PIL import Image

from otadet.data import process_locks

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "ICO", "PCX", "TGA")
"""Pillow's names of the formats that are read. Some of the others start programs of the system (EPS: Ghostscript)."""


@contextmanager
def pillow_limit(max_pixels: int | None = None) -> Iterator[None]:
    """Within the block Pillow raises for pictures of more than `max_pixels` pixels, and warns of nothing.

    Its limit is a global variable of its module, so blocks of several threads follow each other.
    """
    with process_locks.PILLOW, warnings.catch_warnings():
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        warnings.simplefilter("ignore")
        # Up to twice the limit Pillow only warns.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def open_pillow(file: IO[bytes]) -> Image.Image:
    """Pillow's view of an image of one of `FORMATS`, as far as this Pillow has them; to be used in `pillow_limit`."""
    Image.init()
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


class _Bounded:
    def __init__(self, file: BinaryIO, longest: int, in_all: int) -> None:
        self._file, self._longest, self._left = file, longest, in_all
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = self._longest
        self._left -= size + 1024
        return self._file.read(size) if size <= self._longest and self._left >= 0 else b""


def bounded(file: BinaryIO, longest: int = 2**20, in_all: int = 2**26) -> IO[bytes]:
    """The file, seeming to end where more is read of it than headers have; Pillow sets itself no such limit.

    longest: bytes of one reading; in_all: bytes, each reading counting 1024 more.
    """
    return cast("IO[bytes]", _Bounded(file, longest, in_all))
