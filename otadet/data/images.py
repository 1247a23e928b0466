"""Image files as RGB arrays, and a quick check that a file is a whole image."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from otadet.data.decode import decode, upright, was_cut
from otadet.data.headers import PREFETCH, Header, TooManyPixels, read_header
from otadet.data.image_file import open_regular, open_sized, read_up_to, read_whole, shown, size_of
from otadet.data.reduce import reduced_size, shrunk
from otadet.errors import UserError
from otadet.integers import ceil_div

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".pcx"),
)
"""Lower-case file name endings that are looked for when a folder of images is given."""

MAX_PIXELS = 2**28
"""268 million, 16,384 x 16,384: 0.8 GB of memory as RGB."""

_READ_AT_ONCE = 2**22
"""Bytes: files that are not larger are read before their header is looked at."""


@dataclass(frozen=True)
class ReadOptions:
    """How image files are read: the same in the check, the data sets, the predictors and the demo."""

    max_pixels: int = MAX_PIXELS
    """A file whose picture has more is refused before memory is taken: a few hundred bytes can claim any size."""
    upright: bool = False
    """Apply the EXIF orientation. Without it the picture is as it is stored, which is what COCO's boxes are for."""
    bits: int = 16
    """Of a 16-bit file, how many bits its values use: 12 for those of a 12-bit sensor. Larger values become white."""


DEFAULT = ReadOptions()
UPRIGHT = ReadOptions(upright=True)
"""As people see a photo."""


def read_image(path: str | Path, options: ReadOptions = DEFAULT) -> np.ndarray:
    """The picture as (H, W, 3) uint8 RGB, whatever the file holds.

    Grey and palette images become RGB, an alpha channel is dropped, 16-bit values keep the upper 8 of the bits that
    they use. Of an animation or a multi-page file the first picture is read.

    Raises `UserError` naming the file when it is missing, no regular file, cut short, damaged inside as far as its
    format can tell (JPEG has no checksum, so some damage is found and some is not), too large, or no image.
    """
    return read_reduced(path, 1, options)[0]


def read_reduced(
    path: str | Path, reduction: int, options: ReadOptions = DEFAULT
) -> tuple[np.ndarray, tuple[int, int]]:
    """The picture at 1/`reduction` of its size (`reduce.reduced_size`), and (height, width) of the whole.

    reduction: 1, 2, 4 or 8. A JPEG is decoded at that size, which takes a third of the time; others are shrunk. Raises
    as `read_image` does, and finds the same damage.
    """
    header, pixels = _read(path, options, reduction)
    if pixels.dtype == np.uint16:
        pixels = to_eight_bits(pixels, options.bits)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    is_whole = pixels.shape[:2] == (header.height, header.width)
    pixels, size = upright(pixels, header.orientation) if options.upright else pixels, shape(header, options)
    if reduction == 1:
        return pixels, size
    if is_whole:
        return shrunk(pixels, reduction), size
    # The decoder rounds up.
    height, width = reduced_size(*size, reduction)
    return np.ascontiguousarray(pixels[:height, :width]), size


def look_at_header(path: str | Path, options: ReadOptions = DEFAULT) -> Header:
    """The header alone.

    Raises `UserError` naming the file when it is missing, no regular file, too large, or no image.
    """
    with open_regular(path) as file:
        return _header(path, file, size_of(file), options)


def check_header(path: str | Path, options: ReadOptions = DEFAULT) -> Header:
    """The header of a file that can be expected to decode, without decoding it.

    Checked: the file exists, is a regular file and not empty, its header is that of a known format and of a size that
    is allowed, and a JPEG or PNG ends with the format's end marker; only a file without the marker is decoded, to tell
    one that was cut short from one that has bytes appended. Damage in the middle of a file is not found: `read_image`
    reports it.

    Raises `UserError` naming the file.
    """
    with open_regular(path) as file:
        header = _header(path, file, size_of(file), options)
        try:
            file.seek(0, io.SEEK_END)
            file.seek(max(file.tell() - 64, 0))
            whole = not was_cut(header, file.read())
        except OSError as error:
            raise _unreadable(path, error) from error
    if not whole:
        _read(path, options)
    return header


def largest_value(path: str | Path, options: ReadOptions = DEFAULT) -> int:
    """The largest value of a picture's pixels as stored, up to 65535; raises as `read_image` does."""
    return int(_read(path, options)[1].max())


def shape(header: Header, options: ReadOptions) -> tuple[int, int]:
    """(height, width) in pixels of the picture once it is read."""
    turned = options.upright and header.orientation >= 5
    return (header.width, header.height) if turned else (header.height, header.width)


def to_eight_bits(pixels: np.ndarray, bits: int = 16) -> np.ndarray:
    """uint16 -> uint8: the upper 8 of the lower `bits` (8 to 16) bits; larger values become 255."""
    return np.minimum(pixels >> (bits - 8), 255).astype(np.uint8)


def _read(path: str | Path, options: ReadOptions, reduction: int = 1) -> tuple[Header, np.ndarray]:
    """The header, and the pixels as `decode` returns them, perhaps reduced."""
    header, data = _header_and_bytes(path, options)
    try:
        whole = (header.height, header.width)
        if options.upright and header.orientation != 1 and any(side % reduction for side in whole):
            # What the decoder rounds up is at the right and the bottom, which may become the left and the top.
            reduction = 1
        pixels = decode(data, header, options.max_pixels, reduction)
        if pixels.shape[:2] not in (whole, tuple(ceil_div(side, reduction) for side in whole)):
            found = " x ".join(map(str, pixels.shape[1::-1]))
            raise ValueError(f"it decodes to {found} pixels, but its header says {header.width} x {header.height}")
    except Exception as error:
        raise _unreadable(path, error) from error
    return header, pixels


def _header_and_bytes(path: str | Path, options: ReadOptions) -> tuple[Header, bytes]:
    handle, size = open_sized(path)
    try:
        if size > _READ_AT_ONCE:
            with os.fdopen(handle, "rb", closefd=False) as file:
                header = _header(path, file, size, options)
                return header, read_whole(path, file, header.pixels)
        data = read_up_to(handle, size)
        return _header(path, io.BytesIO(data), len(data), options, data), data
    except (OSError, MemoryError) as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(handle)


def _header(path: str | Path, file: BinaryIO, size: int, options: ReadOptions, start: bytes | None = None) -> Header:
    """start: as of `read_header`, where it is read already."""
    try:
        start = file.read(PREFETCH) if start is None else start
        return read_header(file, start, size, options.max_pixels)
    except TooManyPixels as error:
        raise UserError(
            f"{shown(path)}: {error}, more than max_pixels {options.max_pixels:,}; if the file can be trusted and the "
            "memory is there, raise max_pixels"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise _unreadable(path, error, instead=_what_it_is(start or b"")) from error
    except Exception as error:
        raise _unreadable(path, error) from error


def _what_it_is(start: bytes) -> str:
    """What stands in the place of a picture where it was not fetched; empty for all else."""
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS to an image; git lfs pull fetches the image itself"
    if start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, not an image; the download was answered by one"
    return ""


def _unreadable(path: str | Path, error: Exception, instead: str = "") -> UserError:
    if instead:
        return UserError(f"{shown(path)}: is {instead}")
    # Pillow raises anything from OSError to struct.error and SyntaxError on a damaged file.
    if isinstance(error, Image.UnidentifiedImageError):
        return UserError(f"{shown(path)}: not an image, or of a format that neither OpenCV nor Pillow reads")
    reason = str(error) or type(error).__name__
    return UserError(f"{shown(path)}: cannot be read as an image: {reason[:200]}")
