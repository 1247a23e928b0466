"""What the first bytes of an image file say of it: size, orientation, bits per sample. Nothing is decoded.

JPEG, PNG, TIFF, WebP and GIF are read here, because Pillow refuses large pictures, takes memory for WebP and GIF before
their size is known, and tells nothing of the place where an orientation is stored; the other formats are Pillow's.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "ICO", "PCX", "TGA")
"""Pillow's names of the formats that are read. Some of the others start programs of the system (EPS: Ghostscript)."""
_MOST_STEPS = 10_000
"""Segments of a JPEG, chunks of a PNG and the like: far more than files have, and looked at in no time."""
_MOST_CHUNKS = 1_000_000
"""Of a PNG: a large one may have a chunk for every 8 KB."""
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


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
    """EXIF's, 1 to 8; 1 is upright. See `pixels.upright`."""
    bits: int = 8
    """Per sample."""
    largest_block: int = 0
    """Pixels of a tile, which a decoder takes memory for as a whole."""
    orientation_at: int | None = None
    """Where a TIFF stores the orientation, as offset in bytes; decoders apply that of a TIFF by themselves."""

    @property
    def pixels(self) -> int:
        """How many pixels a decoder takes memory for."""
        return max(self.height * self.width, self.largest_block)


def read_header(file: BinaryIO, max_pixels: int) -> Header:
    """The header of the image at the start of `file`.

    Raises `TooManyPixels` for more than `max_pixels`, `PIL.UnidentifiedImageError` for other files, and `HeaderError`
    or whatever Pillow does for damaged ones.
    """
    file.seek(0)
    start = file.read(16)
    try:
        if start.startswith(b"\xff\xd8\xff"):
            header = _jpeg(file)
        elif start.startswith(b"\x89PNG\r\n\x1a\n"):
            header = _png(file)
        elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            header = _tiff(file)
        elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
            header = _webp(file)
        elif start[:6] in (b"GIF87a", b"GIF89a"):
            header = _gif(file)
        else:
            header = _pillow(file, max_pixels)
    except struct.error as error:
        raise HeaderError("its header is truncated") from error
    if header.height < 1 or header.width < 1:
        raise HeaderError(f"its header says {header.width} x {header.height} pixels")
    if header.pixels > max_pixels:
        raise TooManyPixels(f"has {header.width} x {header.height} pixels, {header.pixels:,} in all")
    return header


_pillow_settings = threading.Lock()


@contextmanager
def pillow_limit(max_pixels: int) -> Iterator[None]:
    """Within the block Pillow raises for pictures of more than `max_pixels` pixels, and for those alone.

    Its limit is a global variable of its module, so blocks of several threads follow each other.
    """
    with _pillow_settings, warnings.catch_warnings():
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        warnings.simplefilter("ignore")
        # Up to twice the limit Pillow only warns.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def open_pillow(file: BinaryIO) -> Image.Image:
    """Pillow's view of an image of one of `FORMATS`, as far as this Pillow has them; to be used in `pillow_limit`."""
    Image.init()
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


def _pillow(file: BinaryIO, max_pixels: int) -> Header:
    try:
        # An icon is decoded when it is opened, so the limit has to be Pillow's already.
        with pillow_limit(max_pixels), open_pillow(file) as image:
            orientation = image.getexif().get(0x0112, 1)
            bits = 16 if image.mode.startswith("I;16") else 8
            return Header(image.format or "", image.height, image.width, _valid(orientation), bits)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = re.search(r"\((\d+) pixels\)", str(error))
        raise TooManyPixels(f"has {int(size[1]):,} pixels" if size else "has too many pixels") from error


def _jpeg(file: BinaryIO) -> Header:
    size, bits, orientation, position = None, 8, 1, 2
    for _ in range(_MOST_STEPS):
        file.seek(position)
        prefix, marker = struct.unpack(">BB", file.read(2))
        if prefix != 0xFF:
            # Stray bytes, which decoders pass over too.
            junk = file.read(2**16).find(b"\xff")
            if junk < 0:
                raise HeaderError("damaged between the segments of its header")
            position += 2 + junk
            continue
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if marker in _SOF:
            bits, height, width = struct.unpack(">BHH", file.read(5))
            size = height, width
        elif marker == 0xE1 and file.read(6) == b"Exif\0\0":
            orientation = _exif_orientation(file.read(max(length - 8, 0)))
        elif marker == 0xDA:
            break
        elif marker == 0xD9:
            raise HeaderError("it ends before its picture begins")
        position += 2 + max(length, 2)
    if size is None:
        raise HeaderError("its header does not say its size")
    return Header("JPEG", *size, orientation, bits)


def _png(file: BinaryIO) -> Header:
    file.seek(8)
    length, kind, width, height, bits = struct.unpack(">I4sIIB", file.read(17))
    if kind != b"IHDR":
        raise HeaderError("does not begin with the chunk IHDR")
    orientation, position, end = 1, 8 + 12 + length, file.seek(0, io.SEEK_END)
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        start = file.read(8)
        if len(start) < 8:
            break
        length, kind = struct.unpack(">I4s", start)
        if kind == b"IEND":
            break
        # OpenCV takes memory for a chunk, up to 4 GB, before it looks whether the file has it.
        if position + 12 + length > end:
            raise HeaderError("truncated, or damaged inside: one of its parts would reach past its end")
        if kind == b"eXIf":
            orientation = _exif_orientation(file.read(min(length, 2**16)))
        position += 12 + length
    else:
        raise HeaderError(f"it has more than {_MOST_CHUNKS:,} parts")
    return Header("PNG", height, width, orientation, bits)


def _webp(file: BinaryIO) -> Header:
    size, orientation, position = None, 1, 12
    for _ in range(_MOST_STEPS):
        file.seek(position)
        start = file.read(8)
        if len(start) < 8:
            break
        kind, length = struct.unpack("<4sI", start)
        if kind == b"VP8X":
            low_width, high_width, low_height, high_height = struct.unpack("<4xHBHB", file.read(10))
            size = low_height + (high_height << 16) + 1, low_width + (high_width << 16) + 1
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack("<6xHH", file.read(10))
            return Header("WEBP", height & 0x3FFF, width & 0x3FFF)
        elif kind == b"VP8L" and size is None:
            (packed,) = struct.unpack("<xI", file.read(5))
            return Header("WEBP", (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1)
        elif kind == b"EXIF":
            orientation = _exif_orientation(file.read(min(length, 2**16)).removeprefix(b"Exif\0\0"))
        position += 8 + length + length % 2
    if size is None:
        raise HeaderError("its header does not say its size")
    return Header("WEBP", *size, orientation)


def _gif(file: BinaryIO) -> Header:
    """The screen, or what the first frame needs where that reaches past it."""
    file.seek(6)
    width, height, flags = struct.unpack("<HHB2x", file.read(7))
    position = 13 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0)
    in_extension = False
    for _ in range(_MOST_STEPS):
        file.seek(position)
        (first,) = file.read(1) or b";"
        if in_extension:
            in_extension = first > 0
            position += 1 + first
        elif first == ord("!"):
            in_extension = True
            position += 2
        elif first == ord(","):
            left, top, frame_width, frame_height = struct.unpack("<4H", file.read(8))
            return Header("GIF", max(height, top + frame_height), max(width, left + frame_width))
        else:
            break
    raise HeaderError("it has no picture")


def _tiff(file: BinaryIO) -> Header:
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    (version,) = struct.unpack(f"{order}H", file.read(2))
    if version == 42:
        (first,) = struct.unpack(f"{order}I", file.read(4))
        entries = _Directory(file, order, first, "H", "HHI4s")
    else:
        (first,) = struct.unpack(f"{order}4xQ", file.read(12))
        entries = _Directory(file, order, first, "Q", "HHQ8s")
    width, height = (entries.number(tag) for tag in (256, 257))
    if width is None or height is None:
        raise HeaderError("its header does not say its size")
    tile = (entries.number(322) or 0) * (entries.number(323) or 0)
    bits = entries.number(258) or 1
    orientation = _valid(entries.number(274))
    return Header("TIFF", height, width, orientation, bits, tile, entries.value_at(274))


def _exif_orientation(exif: bytes) -> int:
    """The orientation that EXIF data (a TIFF of its own) tell; 1 where they do not, or are damaged."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return 1
        (first,) = struct.unpack(f"{order}4xI", exif[:8])
        (count,) = struct.unpack(f"{order}H", exif[first : first + 2])
        for position in range(first + 2, first + 2 + 12 * count, 12):
            tag, value = struct.unpack(f"{order}H6xH2x", exif[position : position + 12])
            if tag == 0x0112:
                return _valid(value)
    except struct.error:
        pass
    return 1


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


class _Directory:
    """The first directory of a TIFF. Of a tag that is there twice the first counts, as for libtiff."""

    def __init__(self, file: BinaryIO, order: str, position: int, count_format: str, entry_format: str) -> None:
        """count_format, entry_format: struct's, of the number of entries and of one entry with its value last."""
        self._file, self._order = file, order
        file.seek(position)
        (count,) = struct.unpack(order + count_format, file.read(struct.calcsize(order + count_format)))
        size = struct.calcsize(order + entry_format)
        table = file.read(size * min(count, _MOST_STEPS))
        self._entries: dict[int, tuple[int, int, bytes]] = {}
        self._places: dict[int, int] = {}
        start = position + struct.calcsize(order + count_format)
        for place in range(len(table) // size):
            tag, kind, values, value = struct.unpack_from(order + entry_format, table, place * size)
            if tag not in self._entries:
                self._entries[tag] = kind, values, value
                self._places[tag] = start + (place + 1) * size - len(value)

    def number(self, tag: int) -> int | None:
        """The first value of a tag that holds whole numbers."""
        kind, values, value = self._entries.get(tag, (0, 0, b""))
        code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if code is None or not values:
            return None
        size = struct.calcsize(self._order + code)
        if size * values > len(value):
            # The value is where the entry points to.
            (position,) = struct.unpack(self._order + {4: "I", 8: "Q"}[len(value)], value)
            self._file.seek(min(position, 2**62))
            value = self._file.read(size)
        return struct.unpack(self._order + code, value[:size])[0]

    def value_at(self, tag: int) -> int | None:
        """Where the value of a tag is, as offset in bytes, if it is a number of 16 bits inside its entry."""
        kind, values, _ = self._entries.get(tag, (0, 0, b""))
        return self._places[tag] if kind == 3 and values == 1 else None
