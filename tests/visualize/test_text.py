import cv2
import numpy as np
import pytest

from otadet.visualize import text
from otadet.visualize.text import OpenCVFont, PillowFont, load_font

FONTS = [
    pytest.param(OpenCVFont, marks=pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="OpenCV before 5")),
    PillowFont,
]


def ink(font, words: str, x: int = 5, y: int = 5) -> np.ndarray:
    canvas = np.full((40, 200, 3), 255, np.uint8)
    font.draw(canvas, words, x, y, (0, 0, 0))
    return canvas[..., 0] < 128


@pytest.mark.parametrize("kind", FONTS)
def test_text_is_drawn_inside_its_line_box(kind):
    font = kind(16)
    drawn = ink(font, "Ågypq|", 20, 8)
    rows, columns = np.nonzero(drawn)
    assert rows.min() >= 8 - 1
    assert rows.max() <= 8 + font.line_height
    assert columns.min() >= 20 - 1
    assert columns.max() <= 20 + font.width("Ågypq|") + 1


@pytest.mark.parametrize("kind", FONTS)
@pytest.mark.parametrize(("x", "y"), [(-30, 5), (150, 5), (5, -10), (5, 30), (500, 5), (5, 90), (-900, 5)])
def test_text_is_cut_off_at_the_border(kind, x, y):
    # A canvas with a margin: what is drawn must be what a larger canvas shows there.
    font, words = kind(16), "cut off somewhere"
    large = np.full((240, 1400, 3), 255, np.uint8)
    font.draw(large, words, 600 + x, 100 + y, (0, 0, 0))
    assert np.array_equal(ink(font, words, x, y), large[100:140, 600:800, 0] < 128)


@pytest.mark.parametrize("kind", FONTS)
def test_elided_text_fits(kind):
    font, name = kind(16), "a class name that goes on and on"
    assert font.elide(name, font.width(name)) == name
    for width in (150, 80, 40):
        short = font.elide(name, width)
        assert font.width(short) <= width
        assert short.endswith("…")
        assert name.startswith(short[:-1])


@pytest.mark.parametrize("kind", FONTS)
def test_wrapped_text_fits_and_loses_nothing(kind):
    font, text = kind(16), "all levels: 363 of 363 positives, 196\u00a0ambiguous"
    assert font.wrapped("", 50) == [""]
    lines = font.wrapped(text, 140)
    assert len(lines) > 1
    assert all(font.width(line) <= 140 for line in lines)
    assert " ".join(lines) == text.replace("\u00a0", " ")
    assert any("196 ambiguous" in line for line in lines)


@pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="OpenCV before 5")
@pytest.mark.parametrize("word", ["Fußgänger", "ağaç", "человек", "άνθρωπος", "自行车"])
def test_every_script_has_its_letters(word):
    font = OpenCVFont(16)
    drawn = ink(font, word)
    assert drawn.sum() > 50
    assert not np.array_equal(drawn, ink(font, "?" * len(word)))
    letters = [ink(font, letter) for letter in dict.fromkeys(word)]
    assert len({letter.tobytes() for letter in letters}) == len(letters)


@pytest.mark.parametrize(("word", "drawable"), [("ağaç", "agac"), ("Fußgänger…", "Fuganger..."), ("自行车", "???")])
def test_without_any_font_text_becomes_ascii(monkeypatch, word, drawable):
    monkeypatch.setattr(text, "SYSTEM_FONTS", ())
    font = PillowFont(16)
    assert np.array_equal(ink(font, word), ink(font, drawable))


HOSTILE = [
    "\ud800",
    "a\udce9b",
    "line\nbreak\x1b[31m",
    "\x00",
    "x" * 100_000,
    "\u202e" + "ab",
    "e" + "\u0301" * 5000,
    "",
]


@pytest.mark.parametrize("font", [PillowFont(16), *([OpenCVFont(16)] if hasattr(cv2, "FontFace") else [])])
@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_can_be_drawn(font, word):
    assert font.width(font.elide(word, 120)) <= 120
    canvas = np.zeros((40, 200, 3), np.uint8)
    font.draw(canvas, word, 5, 5, (255, 255, 255))
    for line in font.wrapped(word, 100):
        font.draw(canvas, line, 5, 5, (255, 255, 255))


def test_a_long_text_keeps_as_much_as_fits():
    font = load_font(16)
    word = "".join(chr(ord("a") + n % 26) for n in range(300))
    shortened = font.elide(word, 200)
    assert shortened.endswith("…")
    assert word.startswith(shortened[:-1])
    assert font.width(shortened) <= 200 < font.width(word[: len(shortened)] + "…")
