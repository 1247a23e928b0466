"""Text in any script, measured and drawn into RGB images.

OpenCV 5 brings fonts for Latin, Greek, Cyrillic, Chinese and more; OpenCV 4 draws ASCII alone, so there Pillow draws
with the first font of the system that it finds, and without one in ASCII.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from otadet.names import printable

if TYPE_CHECKING:
    from PIL import ImageFont

SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf", "arial.ttf")


MAX_DRAWN = 500
"""Characters of a text that is drawn: more than a picture has room for."""


def drawable(text: str) -> str:
    """`text` in one line and cut, without what breaks the fonts: lone surrogates and control characters."""
    text = printable(text)
    return text if len(text) <= MAX_DRAWN else text[: MAX_DRAWN - 1] + "…"


class Font(ABC):
    """One size of text."""

    def __init__(self, size: int) -> None:
        """`size` is the height of the letters' box in pixels."""
        self.size = size
        self.line_height = round(1.3 * size)

    def width(self, text: str) -> int:
        """The width of `text` in pixels, as `draw` draws it."""
        return self._measure(drawable(text))

    def elide(self, text: str, width: int) -> str:
        """`text`, or as much of it as fits `width` pixels with an ellipsis; at least the ellipsis."""
        text = drawable(text)
        if self.width(text) <= width:
            return text
        # The longest beginning that fits lies between `fits` and `too_long` characters.
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            end = (fits + too_long) // 2
            if self.width(text[:end].rstrip() + "…") <= width:
                fits = end
            else:
                too_long = end
        return text[:fits].rstrip() + "…"

    def wrapped(self, text: str, width: int) -> list[str]:
        """The lines of `text` at most `width` pixels wide, broken at spaces that are no hard ones.

        A word that is wider is elided.
        """
        lines: list[str] = []
        for word in (part.replace("\u00a0", " ") for part in text.split(" ")):
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and self.width(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(self.elide(word, width))
        return lines or [""]

    def draw(self, canvas: np.ndarray, text: str, x: int, y: int, color: tuple[int, int, int]) -> None:
        """Draw one line into `canvas` (H, W, 3) RGB uint8; (x, y) is the top-left corner of the line's box.

        What lies outside the canvas is cut off.
        """
        text = drawable(text)
        width = self.width(text) + self.size
        top, left = max(y, 0), max(x, 0)
        bottom, right = min(y + self.line_height, canvas.shape[0]), min(x + width, canvas.shape[1])
        if top >= bottom or left >= right:
            return
        # A patch of its own, because OpenCV wraps a line that reaches the border of the image it draws on.
        patch = np.zeros((self.line_height, width, 3), np.uint8)
        visible = slice(top - y, bottom - y), slice(left - x, right - x)
        patch[visible] = canvas[top:bottom, left:right]
        self._render(patch, text, color)
        canvas[top:bottom, left:right] = patch[visible]

    @abstractmethod
    def _measure(self, text: str) -> int:
        """The width of a text that is `drawable`, in pixels."""

    @abstractmethod
    def _render(self, patch: np.ndarray, text: str, color: tuple[int, int, int]) -> None:
        """Draw a text that is `drawable` into `patch` (H, W, 3) from its left edge on, on a base line at `size`."""


class OpenCVFont(Font):
    """The fonts inside OpenCV 5."""

    WEIGHT = 500
    """400 is regular, 700 bold."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._face = cv2.FontFace("sans")

    def _measure(self, text: str) -> int:
        return cv2.getTextSize((0, 0), text.rstrip(), (0, 0), self._face, self.size, self.WEIGHT)[2]

    def _render(self, patch: np.ndarray, text: str, color: tuple[int, int, int]) -> None:
        cv2.putText(patch, text.rstrip(), (0, self.size), color, self._face, self.size, self.WEIGHT)


class PillowFont(Font):
    """Pillow, with a font of the system or its own, which holds ASCII alone."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._font, self._ascii = _pillow_font(size)

    def _measure(self, text: str) -> int:
        return int(np.ceil(self._font.getlength(self._drawable(text))))

    def _render(self, patch: np.ndarray, text: str, color: tuple[int, int, int]) -> None:
        from PIL import Image, ImageDraw

        image = Image.fromarray(patch)
        ImageDraw.Draw(image).text((0, self.size), self._drawable(text), fill=color, font=self._font, anchor="ls")
        patch[:] = np.asarray(image)

    def _drawable(self, text: str) -> str:
        if not self._ascii:
            return text
        without_accents = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        return without_accents or "?" * len(text)


def _pillow_font(size: int) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, bool]:
    """A font, and whether it has ASCII alone."""
    from PIL import ImageFont

    for name in SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size), False
        except OSError:
            continue
    return ImageFont.load_default(size), True


@lru_cache(maxsize=32)
def load_font(size: int) -> Font:
    """The best font of this machine, `size` pixels high."""
    return OpenCVFont(size) if hasattr(cv2, "FontFace") else PillowFont(size)
