"""Arrays of pixels: resized, mirrored, pasted onto others, and taken apart into planes of one colour."""

from __future__ import annotations

import cv2
import numpy as np

from otadet.integers import ceil_div

NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_CACHED_BYTES = 2**19
"""Of a picture that are worked on at a time: half of what most processors keep close to a core."""


def resize(image: np.ndarray, height: int, width: int, shrink: str = "area") -> np.ndarray:
    """(H, W, 3) -> (height, width, 3) pixels.

    shrink: "area" averages when it shrinks, so that fine texture does not alias; "linear" does not. "halves" averages
    four pixels at a time as long as it can, and interpolates the rest: almost as good as "area", and several times as
    fast.
    """
    if image.shape[:2] == (height, width):
        return image
    while shrink == "halves" and image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        # Interpolation at exactly half the size is the mean of four.
        halved = ceil_div(image.shape[1], 2), ceil_div(image.shape[0], 2)
        image = cv2.resize(image, halved, interpolation=cv2.INTER_LINEAR)
    averages = shrink == "area" and (height < image.shape[0] or width < image.shape[1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if averages else cv2.INTER_LINEAR)


def paste(image: np.ndarray, canvas: np.ndarray, top: int = 0, left: int = 0) -> None:
    """Writes `image` (h, w, 3) into `canvas` (H, W, 3), its first pixel at row `top` and column `left` of that.

    What lies outside the canvas is cut off.
    """
    source = image[max(-top, 0) :, max(-left, 0) :]
    target = canvas[max(top, 0) :, max(left, 0) :]
    height, width = (min(source.shape[axis], target.shape[axis]) for axis in (0, 1))
    copy_pixels(source[:height, :width], target[:height, :width])


def copy_pixels(source: np.ndarray, target: np.ndarray) -> None:
    """`target[...] = source`, both (H, W, 3) uint8."""
    # OpenCV copies a picture that is mirrored from left to right ten times faster than numpy.
    if source.strides[1] >= 0:
        target[...] = source
    elif source.strides[0] >= 0:
        cv2.flip(source[:, ::-1], 1, dst=target)
    else:
        cv2.flip(source[::-1, ::-1], -1, dst=target)


def unmirrored(image: np.ndarray) -> np.ndarray:
    """The same pixels, in a new array where `image` is a mirrored view of another, since most libraries need that."""
    if min(image.strides[:2]) >= 0:
        return image
    copied = np.empty(image.shape, np.uint8)
    copy_pixels(image, copied)
    return copied


def padded(image: np.ndarray, size: tuple[int, int], pad_value: tuple[int, int, int]) -> np.ndarray:
    """(h, w, 3) -> (*size, 3): padded at the right and the bottom with the RGB `pad_value`."""
    canvas = filled(*size, pad_value)
    paste(image, canvas)
    return canvas


def filled(height: int, width: int, color: tuple[int, int, int]) -> np.ndarray:
    """(height, width, 3) uint8 of one RGB."""
    canvas = np.empty((height, width, 3), np.uint8)
    # Rows are copied as a whole, which is many times as fast as three bytes at a time.
    canvas[:1] = color
    canvas[1:] = canvas[:1]
    return canvas


class PlaneWriter:
    """Takes pictures apart into planes of one colour each, and pads these at the right and the bottom.

    pad_value: RGB.
    """

    def __init__(self, pad_value: tuple[int, int, int]) -> None:
        self._pad_value = np.array(pad_value, np.uint8)
        self._strip = NO_PIXELS

    def write(self, image: np.ndarray, planes: np.ndarray) -> None:
        """image: (h, w, 3) uint8, a mirrored view perhaps. planes: (3, H, W) uint8, H >= h and W >= w."""
        height, width = image.shape[:2]
        planes[:, height:] = self._pad_value[:, None, None]
        # OpenCV takes the colours apart several times as fast where neither side has gaps between its rows. So they
        # pass through strips as wide as the planes, each small enough to stay in the processor's cache.
        strip = self._empty_strip(planes.shape[2])
        strip[:, width:] = self._pad_value
        for top in range(0, height, len(strip)):
            part = image[top : top + len(strip)]
            copy_pixels(part, strip[: len(part), :width])
            cv2.split(strip[: len(part)], list(planes[:, top : top + len(part)]))

    def _empty_strip(self, width: int) -> np.ndarray:
        if self._strip.shape[1] != width:
            self._strip = np.empty((max(_CACHED_BYTES // (3 * width), 1), width, 3), np.uint8)
        return self._strip
