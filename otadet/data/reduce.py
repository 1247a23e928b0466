"""Pictures at 1/2, 1/4 or 1/8 of their size, where nobody needs more of them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

REDUCTIONS = (8, 4, 2)
"""What JPEG decoders can divide height and width by while they decode, the largest first."""

NeededSize = Callable[[int, int], tuple[int, int] | None]
"""(height, width) of an image file -> the size that it is needed at, at the most; None where that is not known."""


def reduced_size(height: int, width: int, reduction: int) -> tuple[int, int]:
    """(height, width) at 1/`reduction`: whole pixels of `reduction` x `reduction` pixels of the file.

    What is left at the right and the bottom, less than one of them, is cut off. So the scale is exactly 1/`reduction`,
    whatever the size.
    """
    return height // reduction, width // reduction


def largest_reductions(sizes: np.ndarray, needed_size: NeededSize) -> np.ndarray:
    """(S,) uint8: what each image can be reduced by so that it is still as large as needed, and never to be enlarged.

    sizes: (S, 2) height, width of the files in pixels.
    """
    known: dict[tuple[int, int], int] = {}
    for height, width in {(height, width) for height, width in sizes.tolist()}:
        needed = needed_size(height, width)
        known[height, width] = 1 if needed is None else _largest(height, width, needed)
    return np.array([known[height, width] for height, width in sizes.tolist()], np.uint8)


def _largest(height: int, width: int, needed: tuple[int, int]) -> int:
    for reduction in REDUCTIONS:
        found = reduced_size(height, width, reduction)
        if found[0] >= max(needed[0], 1) and found[1] >= max(needed[1], 1):
            return reduction
    return 1


def shrunk(pixels: np.ndarray, reduction: int) -> np.ndarray:
    """(H, W, 3) -> (H // reduction, W // reduction, 3): the means of squares of pixels."""
    height, width = reduced_size(pixels.shape[0], pixels.shape[1], reduction)
    whole = pixels[: height * reduction, : width * reduction]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
