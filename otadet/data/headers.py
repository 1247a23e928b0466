"""What the first bytes of an image file say of it: size, orientation, bits per sample. Nothing is decoded.

Pillow reads them, with two exceptions. PNG: it refuses files with large or damaged texts, which OpenCV reads, decodes
the picture to find an orientation, and does not look at what follows the picture's first part. WebP: it reads the whole
file, twice its size in memory, and asks for memory for two pictures when it opens one.
"""

from __future__ import annotations

import io
import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, BinaryIO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from otadet.data.pillow_files import bounded, open_pillow, pillow_limit

ALWAYS_BELIEVED = 2**26
MOST_PIXELS_PER_BYTE = 10_000
"""A header that claims more than both is a lie: PNG gets no more out of a blank picture of 1 bit per pixel."""
_MOST_CHUNKS = 1_000_000
"""Of a PNG: a large one may have a chunk for every 8 KB."""
_MOST_FRAMES = 10_000
"""Of a WebP: each has a chunk."""
_ORIENTATION = 0x0112
PREFETCH = 2**16
"""Bytes: more than most headers have, so that in `pillow_limit` no other thread waits for the disk."""
_START_OF_FRAME = (0xC0, 0xC1, 0xC2)
"""Markers of a JPEG: baseline, extended, progressive. Nothing decodes most of the others."""
_START_OF_SCAN = 0xDA
_WITHOUT_LENGTH = (*range(0xD0, 0xDA), 0xFF)


class HeaderError(ValueError):
    """The bytes are no picture of the format that they begin as."""


class TooManyPixels(ValueError):
    """The picture is larger than allowed; the message says how large."""


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is decoded."""

    format: str
    """Pillow's name, such as "JPEG"."""
    height: int
    width: int
    """As stored: before the orientation is applied."""
    orientation: int = 1
    """EXIF's, 1 to 8; 1 is upright. See `decode.upright`."""
    bits: int = 8
    """Per sample."""
    largest_block: int = 0
    """Pixels of a tile, which a decoder takes memory for as a whole."""

    @property
    def pixels(self) -> int:
        """How many pixels a decoder takes memory for."""
        return max(self.height * self.width, self.largest_block)


def read_header(file: BinaryIO, start: bytes, size: int, max_pixels: int) -> Header:
    """The header of the image at the start of `file`, which has `size` bytes.

    start: its first `PREFETCH` bytes, or more, or all.

    Raises `TooManyPixels` for more than `max_pixels`, `PIL.UnidentifiedImageError` for other files, and `HeaderError`
    or whatever Pillow does for damaged ones, such as those that claim more pixels than their bytes can hold.
    """
    believed = max(ALWAYS_BELIEVED, MOST_PIXELS_PER_BYTE * size)
    try:
        if start.startswith(b"\xff\xd8\xff"):
            header = _jpeg(file, start)
        elif start.startswith(b"\x89PNG\r\n\x1a\n"):
            header = _png(file, size)
        elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            header = _tiff(file)
        elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
            header = _webp(file)
        else:
            header = _other(file, max_pixels, believed)
    except (SyntaxError, struct.error) as error:
        raise HeaderError(f"its header is damaged or truncated ({error})") from error
    said = f"{header.width} x {header.height} pixels"
    if header.height < 1 or header.width < 1:
        raise HeaderError(f"its header says {said}")
    if header.pixels > max_pixels:
        raise TooManyPixels(f"has {said}, {header.pixels:,} in all")
    if header.pixels > believed:
        raise HeaderError(f"its header says {said}, but it has only {size:,} bytes")
    return header


def _jpeg(file: BinaryIO, start: bytes) -> Header:
    header = _plain_jpeg(start)
    if header is not None:
        return header
    file.seek(0)
    with pillow_limit():
        try:
            # Most headers are short, and what is in memory is read faster.
            image = JpegImageFile(io.BytesIO(start))
        except (SyntaxError, OSError):
            image = JpegImageFile(bounded(file))
    return Header("JPEG", image.height, image.width, _exif_orientation(image.info.get("exif")))


def _plain_jpeg(start: bytes) -> Header | None:
    """The header of a JPEG as nearly all are, ten times faster than Pillow has it; None leaves the others to that."""
    frame: tuple[int, int] | None = None
    exif: bytes | None = None
    place = 2
    while place + 4 <= len(start):
        mark, marker, length = struct.unpack_from(">BBH", start, place)
        end = place + 2 + length
        if mark != 0xFF or not 0xC0 <= marker <= 0xFE or marker in _WITHOUT_LENGTH or length < 2 or end > len(start):
            return None
        if marker == _START_OF_SCAN:
            return None if frame is None else Header("JPEG", *frame, _exif_orientation(exif))
        if marker in _START_OF_FRAME:
            if frame is not None or length < 8:
                return None
            bits, height, width, layers = struct.unpack_from(">BHHB", start, place + 4)
            if bits != 8 or layers not in (1, 3, 4) or length != 8 + 3 * layers:
                return None
            frame = height, width
        elif marker == 0xE1 and start.startswith(b"Exif\0\0", place + 4):
            if exif is not None:
                return None
            exif = start[place + 4 : end]
        place = end
    return None


def _tiff(file: BinaryIO) -> Header:
    file.seek(0)
    tags = _tags(bounded(file))
    height, width, tile_height, tile_width = (_number(tags.get(tag)) for tag in (257, 256, 323, 322))
    bits, orientation = _number(tags.get(258, 1)), _valid(tags.get(_ORIENTATION))
    return Header("TIFF", height, width, orientation, bits, tile_height * tile_width)


def _tags(file: IO[bytes]) -> dict[int, object]:
    """What the first directory of a TIFF says of size, orientation and bits."""
    order, version, first = struct.unpack("2s2s12s", file.read(16).ljust(16, b"\0"))
    # Pillow knows a BigTIFF by the little-endian form alone.
    start = b"II+\0" + first if b"+" in version else b"II*\0" + first[:4]
    tags = ImageFileDirectory_v2(start, prefix=order)
    file.seek(tags.next)
    with pillow_limit():
        tags.load(file)
        return {tag: tags[tag] for tag in (256, 257, 258, _ORIENTATION, 322, 323) if tag in tags}


def _exif_orientation(exif: bytes | None) -> int:
    """The orientation that EXIF data, a TIFF of its own, tell; 1 where they do not, or are damaged."""
    with suppress(Exception):
        return 1 if exif is None else _valid(_tags(io.BytesIO(exif.removeprefix(b"Exif\0\0"))).get(_ORIENTATION))
    return 1


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _number(value: object) -> int:
    """The first number of a tag; 0 where it holds none."""
    first = value[0] if isinstance(value, tuple | bytes) and value else value
    return first if isinstance(first, int) else 0


def _png(file: BinaryIO, size: int) -> Header:
    file.seek(8)
    length, kind, width, height, bits = struct.unpack(">I4sIIB", file.read(17))
    if kind != b"IHDR":
        raise HeaderError("does not begin with the chunk IHDR")
    orientation, position = 1, 8 + 12 + length
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        start = file.read(8)
        if len(start) < 8 or start[4:] == b"IEND":
            return Header("PNG", height, width, orientation, bits)
        length, kind = struct.unpack(">I4s", start)
        position += 12 + length
        # OpenCV takes memory for a chunk, up to 4 GB, before it looks whether the file has it.
        if position > size:
            raise HeaderError("truncated, or damaged inside: one of its parts would reach past its end")
        if kind == b"eXIf":
            orientation = _exif_orientation(file.read(min(length, 2**16)))
    raise HeaderError(f"it has more than {_MOST_CHUNKS:,} parts")


def _webp(file: BinaryIO) -> Header:
    file.seek(12)
    kind, length, data = struct.unpack("<4sI10s", file.read(18).ljust(18, b"\0"))
    if kind == b"VP8 ":
        width, height = struct.unpack("<6xHH", data)
        return Header("WEBP", height & 0x3FFF, width & 0x3FFF)
    if kind == b"VP8L":
        (packed,) = struct.unpack("<xI5x", data)
        return Header("WEBP", (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1)
    if kind != b"VP8X":
        raise HeaderError("its header does not say its size")
    width, height = (int.from_bytes(data[place : place + 3], "little") + 1 for place in (4, 7))
    position, exif = 12, None
    for _ in range(_MOST_FRAMES):
        position += 8 + length + length % 2
        file.seek(position)
        start = file.read(8)
        if len(start) < 8:
            break
        kind, length = struct.unpack("<4sI", start)
        if kind == b"EXIF":
            exif = file.read(min(length, 2**16))
            break
    return Header("WEBP", height, width, _exif_orientation(exif))


def _other(file: BinaryIO, max_pixels: int, believed: int) -> Header:
    try:
        # An icon is decoded when it is opened, and a GIF may be filled, so the limit has to be Pillow's already.
        with pillow_limit(min(max_pixels, believed)), open_pillow(bounded(file, 2**27, 2**27 + 2**26)) as image:
            size, mode, exif = (image.height, image.width), image.mode, image.info.get("exif")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        pixels = int(found[1]) if found else max_pixels + 1
        if pixels > max_pixels:
            raise TooManyPixels(f"has {pixels:,} pixels") from error
        raise HeaderError(f"its header says {pixels:,} pixels, more than its bytes can hold") from error
    return Header(image.format or "", *size, _exif_orientation(exif), 16 if mode.startswith("I;16") else 8)
