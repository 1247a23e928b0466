"""Arrays of pixels: resized, and pasted onto others."""

from __future__ import annotations

import cv2
import numpy as np

from otadet.integers import ceil_div


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
    target[:height, :width] = source[:height, :width]


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
