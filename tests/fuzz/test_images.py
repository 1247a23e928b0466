"""Image files of any content: a picture of the size that was announced, or a UserError."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from otadet.data.images import ReadOptions, read_image
from otadet.errors import UserError
from tests.helpers.image_sizes import check_image, read_size

FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "TGA", "PCX", "ICO"] + [
    name for name, feature in (("WEBP", "webp"), ("JPEG2000", "jpg_2000"), ("AVIF", "avif")) if features.check(feature)
]
OPTIONS = [ReadOptions(max_pixels=2**20, upright=upright, bits=bits) for upright in (False, True) for bits in (8, 16)]


def whole_files() -> dict[str, bytes]:
    """A small file of each format and of the kinds that are read in other ways."""
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (24, 40, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 2**16, (24, 40), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    saved = {name: (color, name, {"sizes": [(40, 24)]} if name == "ICO" else {}) for name in FORMATS}
    saved |= {f"{name} turned": (color, name, {"exif": exif}) for name in ("PNG", "JPEG", "TIFF")}
    saved |= {f"{name} 16 bits": (deep, name, {}) for name in ("PNG", "TIFF")}
    saved["progressive"] = color, "JPEG", {"progressive": True}
    saved["deflated"] = color, "TIFF", {"compression": "tiff_adobe_deflate"}
    saved["palette"] = color.quantize(8), "PNG", {}
    files = {}
    for name, (image, kind, options) in saved.items():
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files[name] = buffer.getvalue()
    return files


FILES = whole_files()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "image"


def look(path: Path, data: bytes, options: ReadOptions) -> None:
    """Raises whatever is neither a picture nor a UserError that names the file in one line."""
    path.write_bytes(data)
    sizes, messages = [], []
    for read in (read_size, check_image, lambda *args: read_image(*args).shape[:2]):
        try:
            sizes.append(read(path, options))
        except UserError as error:
            messages.append(str(error))
    assert all(str(path) in message and "\n" not in message for message in messages)
    assert len(set(sizes)) <= 1
    assert all(0 < height * width <= options.max_pixels for height, width in sizes)


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(file, name):
    file.write_bytes(FILES[name])
    assert read_image(file).shape == (24, 40, 3)
    turned = read_image(file, ReadOptions(upright=True))
    assert turned.shape == ((40, 24, 3) if "turned" in name else (24, 40, 3))


NUMBERS = [0, 1, 0x7FFF, 0xFFFF, 2**31, 2**32 - 1]
places = st.floats(0, 1, exclude_max=True)
damage = st.one_of(
    st.tuples(st.just("bit"), places, st.integers(0, 7)),
    # Most of what decides anything is in the first bytes.
    st.tuples(st.just("byte"), places.map(lambda place: place**4), st.integers(0, 255)),
    st.tuples(st.just("cut"), places, st.integers(0, 2)),
    st.tuples(st.just("gap"), places, st.integers(1, 64)),
    st.tuples(st.just("twice"), places, st.integers(1, 64)),
    st.tuples(
        st.just("number"), places.map(lambda place: place**4), st.sampled_from([0, 1, 0x7FFF, 0xFFFF, 2**31, 2**32 - 1])
    ),
)


def damaged(data: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    for kind, where, value in changes:
        place = int(where * len(data))
        before, here, after = data[:place], data[place : place + 1], data[place + 1 :]
        if kind == "bit" and here:
            data = before + bytes([here[0] ^ 1 << value]) + after
        elif kind == "byte":
            data = before + bytes([value]) + after
        elif kind == "cut":
            data = before if value else data[: len(data) - 1 - place % 64]
        elif kind == "gap":
            data = before + data[place + value :]
        elif kind == "twice":
            data = before + data[place : place + value] + data[place:]
        elif kind == "number":
            size = 2 if value < 2**16 else 4
            data = before + struct.pack("<H" if size == 2 else "<I", value) + data[place + size :]
    return data


@settings(max_examples=800)
@given(st.sampled_from(sorted(FILES)), st.lists(damage, min_size=1, max_size=4), st.sampled_from(OPTIONS))
def test_damaged_files(file, name, changes, options):
    look(file, damaged(FILES[name], changes), options)


@settings(max_examples=300)
@given(
    st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0\x08\0\0\0", b"P6 ", b"\0\0\1\0"]
    ),
    st.binary(max_size=300),
    st.sampled_from(OPTIONS),
)
def test_random_bytes(file, start, rest, options):
    look(file, start + rest, options)


@settings(max_examples=200)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([0, 2, 3, 4, 6]),
)
def test_png_of_any_size(file, width, height, bits, color):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    content = zlib.compress(bytes(1000))
    look(
        file, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b""), OPTIONS[1]
    )
