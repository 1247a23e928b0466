"""Arrays of pixels: resized, mirrored, padded and pasted onto others."""

from __future__ import annotations

import cv2
import numpy as np

from otadet.integers import ceil_div

NO_PIXELS = np.empty((0, 0, 3), np.uint8)


def resize(
    image: np.ndarray, height: int, width: int, shrink: str = "area", out: np.ndarray | None = None
) -> np.ndarray:
    """(H, W, 3) -> (height, width, 3) pixels, the image itself where it has that size.

    shrink: "area" averages when it shrinks, so that fine texture does not alias; "linear" does not. "halves" averages
    four pixels at a time as long as it can, and interpolates the rest: almost as good as "area", and several times as
    fast. out: (height, width, 3) uint8 to write them to, whose rows may have gaps between them.
    """
    if image.shape[:2] == (height, width):
        if out is None:
            return image
        copy_pixels(image, out)
        return out
    while shrink == "halves" and image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        # Interpolation at exactly half the size is the mean of four.
        halved = ceil_div(image.shape[1], 2), ceil_div(image.shape[0], 2)
        image = cv2.resize(image, halved, interpolation=cv2.INTER_LINEAR)
    averages = shrink == "area" and (height < image.shape[0] or width < image.shape[1])
    interpolation = cv2.INTER_AREA if averages else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), dst=out, interpolation=interpolation)


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


def fill_padding(canvas: np.ndarray, size: tuple[int, int], color: tuple[int, int, int]) -> None:
    """Give what is right of and below `size` (height, width) in `canvas` (H, W, 3) that RGB."""
    height, width = size
    if width < canvas.shape[1]:
        canvas[:height, width:] = filled(1, canvas.shape[1] - width, color)
    if height < canvas.shape[0]:
        canvas[height:] = filled(1, canvas.shape[1], color)
