"""The bytes of an image file -> its pixels as stored, with OpenCV, and with Pillow where OpenCV cannot."""

from __future__ import annotations

import io
import re
from contextlib import suppress

import cv2
import numpy as np

from otadet.data.headers import Header
from otadet.data.pillow_files import open_pillow, pillow_limit
from otadet.data.stderr import CaughtStderr

_FLAGS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
_TO_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11

_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""Without the bit for colour, which is set beside it."""

_OF_CODECS = re.compile(
    r"Corrupt JPEG|Premature end|Invalid|Unknown|Inconsistent|Warning|More samples|libpng|TIFF|\w+(Decode\w*)?: |"
    r"\[ *(WARN|ERROR)|\s*\[\d+\] prec\("
)
"""How lines begin that are the decoders'."""
_DAMAGE = re.compile(r"Corrupt JPEG data|Premature end of JPEG")
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x(\w+)")
_STRAY_BYTES = 4
"""Some cameras and tools leave a few bytes between the picture's data and the next marker: no sign of damage."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Of a JPEG; the others may stand within the data of a scan."""


class Damaged(ValueError):
    """The picture decodes, but not to what was saved."""


def decode(data: bytes, header: Header, max_pixels: int, reduction: int = 1) -> np.ndarray:
    """(H, W) grey or (H, W, 3) RGB, uint8 or uint16, orientation ignored.

    reduction: 1, 2, 4 or 8, by which OpenCV divides height and width of a JPEG, rounding up; what it leaves to Pillow,
    and all other formats, stay as large as they are.

    Raises `Damaged`, or anything that Pillow does on a file that it cannot decode.
    """
    if header.format == "JPEG" and was_cut(header, data[-64:]) and _scan_has_no_end(data):
        raise Damaged("truncated: the data of its picture have no end")
    # Of a PNG that was cut short OpenCV may return the first rows; Pillow refuses.
    pixels = _decode_opencv(data, header, reduction) if header.format != "PNG" or _ends_as_png(data) else None
    if pixels is None:
        pixels = _decode_pillow(data, max_pixels)
    # Both decoders apply the orientation of a TIFF, whatever they are told; 6 and 8 undo each other, the others itself.
    return (
        upright(pixels, {6: 8, 8: 6}.get(header.orientation, header.orientation)) if header.format == "TIFF" else pixels
    )


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) as it is seen; 5 to 8 of EXIF's orientations exchange height and width."""
    if orientation in (5, 7):
        pixels = cv2.transpose(pixels)
    turn = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 7: cv2.ROTATE_180, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if orientation in turn:
        return cv2.rotate(pixels, turn[orientation])
    return cv2.flip(pixels, {2: 1, 4: 0}[orientation]) if orientation in (2, 4) else pixels


def was_cut(header: Header, data: bytes) -> bool:
    """Whether a JPEG or a PNG lacks the mark of its end. data: the last bytes of the file, or all of them."""
    ending = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}.get(header.format, b"")
    return not data.rstrip(b"\0").endswith(ending)


def _scan_has_no_end(data: bytes) -> bool:
    """Whether no marker follows the data of a JPEG's last scan, be they cut off or followed by nothing but zeros.

    OpenCV before 4.11 decodes what is there, and every version takes zeros for picture.
    """
    start = data.rfind(b"\xff\xda")
    return start >= 0 and _MARKER.search(data, start + 2) is None


def _ends_as_png(data: bytes) -> bool:
    return not was_cut(Header("PNG", 1, 1), data[-64:])


def _decode_opencv(data: bytes, header: Header, reduction: int) -> np.ndarray | None:
    # For a TIFF with 16 bits OpenCV mixes the channels up when it is asked for RGB.
    to_rgb = _TO_RGB if header.format == "JPEG" else None
    flags = _FLAGS | (cv2.IMREAD_COLOR if to_rgb is None else to_rgb)
    if header.format == "JPEG":
        flags |= _REDUCED[reduction]
    pixels = None
    with CaughtStderr(_OF_CODECS) as lines, suppress(cv2.error, MemoryError):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        return None
    for line in lines:
        if header.format == "JPEG" and _DAMAGE.match(line) and not _only_stray_bytes(line, data):
            raise Damaged(f"damaged inside ({line.strip()}), so that a part of the picture is lost or misplaced")
    return pixels if to_rgb is not None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _only_stray_bytes(line: str, data: bytes) -> bool:
    """Whether what libjpeg passed over is a few bytes, or padding."""
    found = _EXTRANEOUS.search(line)
    if found is None:
        return False
    count, end = int(found[1]), data.rfind(b"\xff\xd9")
    padding = found[2] == "d9" and len(set(data[max(end - count, 0) : end])) == 1
    return count <= _STRAY_BYTES or padding


def _decode_pillow(data: bytes, max_pixels: int) -> np.ndarray:
    with CaughtStderr(_OF_CODECS), pillow_limit(max_pixels), open_pillow(io.BytesIO(data)) as image:
        image.load()
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16)
        if image.mode in ("I", "F"):
            raise ValueError("its pixels are 32-bit numbers; save it as 8- or 16-bit PNG")
        return np.array(image.convert("RGB"))
